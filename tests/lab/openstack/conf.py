"""Configuration files of OpenStack's services, and what all of them say."""


def write(path, sections):
    """Write sections of settings as oslo.config reads them."""
    lines = []
    for name, settings in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {_text(value)}" for key, value in settings.items()]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def _text(value):
    return str(value).lower() if isinstance(value, bool) else value


def sign_in(site, user, *, password="", project="service"):
    """Return how a service signs in to Keystone; the password is by default the services' own."""
    return {
        "auth_type": "password",
        "auth_url": site.keystone_url,
        "username": user,
        "password": password or site.service_password,
        "user_domain_id": "default",
        "project_name": project,
        "project_domain_id": "default",
    }


def authtoken(site, user):
    """Return how a service has tokens validated."""
    return {"www_authenticate_uri": site.keystone_url, **sign_in(site, user)}


NOTIFY = {"driver": "messagingv2", "topics": "notifications,tatu"}
"""A topic of Tatu's own: a queue of its own, of which no other listener takes messages."""
