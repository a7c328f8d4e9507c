"""What a test needs of instances: one that runs, and the metadata that it would read."""

import base64
import hashlib
import hmac
import json
import urllib.request


def flavor(cloud):
    """Return the id of a flavor that costs little; without a disk only administrators might boot it."""
    found = cloud.compute.find_flavor("tiny")
    found = found or cloud.compute.create_flavor(name="tiny", ram=64, vcpus=1, disk=1)
    return found.id


def image(cloud):
    """Return the id of an image that everybody may boot."""
    if found := cloud.image.find_image("tiny"):
        return found.id
    made = cloud.image.create_image(
        name="tiny",
        data=bytes(1024),
        disk_format="raw",
        container_format="bare",
        visibility="public",
        validate_checksum=False,
    )
    return made.id


def boot(cloud, name, *, networks="none", metadata=None, user_data="", admin=None):
    """Boot an instance, wait until it is active, and return it.

    Flavor and image are made by `admin`, if they are not there yet and the cloud's user may not.
    """
    made = cloud.compute.create_server(
        name=name,
        flavor_id=flavor(admin or cloud),
        image_id=image(admin or cloud),
        networks=networks,
        metadata=metadata or {},
        user_data=base64.b64encode(user_data.encode()).decode(),
    )
    return cloud.compute.wait_for_server(made, interval=0.5, wait=120)


def delete(cloud, server):
    """Delete an instance, and wait until it is gone."""
    cloud.compute.delete_server(server.id)
    cloud.compute.wait_for_delete(server, interval=0.5, wait=120)


def read_metadata(lab, server, path="latest/vendor_data2.json"):
    """Return what Nova tells an instance."""
    return json.loads(read_metadata_text(lab, server, path))


def read_metadata_text(lab, server, path):
    """Return its very text, asked as Neutron's metadata agent asks for the guest."""
    signature = hmac.new(lab.metadata_secret.encode(), server.id.encode(), hashlib.sha256)
    request = urllib.request.Request(
        f"{lab.nova_metadata_url}/openstack/{path}",
        headers={
            "X-Instance-ID": server.id,
            "X-Tenant-ID": server.project_id,
            "X-Instance-ID-Signature": signature.hexdigest(),
            "X-Forwarded-For": "10.20.0.5",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read().decode()


def public_network(cloud):
    """Return the network that floating IPs are of, by the administrator; there is one in a lab."""
    network = cloud.network
    if found := network.find_network("public"):
        return found
    made = network.create_network(
        name="public",
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network="public",
    )
    network.create_subnet(network_id=made.id, ip_version=4, cidr="203.0.113.0/24")
    return made


def networks(cloud, public=None):
    """Return a public and a private network of the cloud's project that a router connects.

    The public one is found or made by the administrator, who need not be the cloud's user.
    """
    network = cloud.network
    public = public or public_network(cloud)
    private = network.create_network(name="private")
    inside = network.create_subnet(network_id=private.id, ip_version=4, cidr="10.20.0.0/16")
    router = network.create_router(external_gateway_info={"network_id": public.id})
    network.add_interface_to_router(router, subnet=inside.id)
    return public, private
