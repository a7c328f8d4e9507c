"""What one program made, for another to check; each file is one scenario."""

import json
from pathlib import Path

from tatu.core.certificate import FOREVER, Certificate
from tatu.core.keys import PublicKey

CERTIFICATES = {
    path.stem: json.loads(path.read_text())
    for path in sorted((Path(__file__).parent / "certificates").glob("*.json"))
}

_SHOWN = {
    "ssh-rsa": "RSA",
    "ssh-ed25519": "ED25519",
    "ecdsa-sha2-nistp256": "ECDSA",
    "ecdsa-sha2-nistp384": "ECDSA",
    "ecdsa-sha2-nistp521": "ECDSA",
    "sk-ssh-ed25519@openssh.com": "ED25519-SK",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ECDSA-SK",
}
_VALUED = {"force-command", "source-address"}
_CRITICAL_OPTIONS = {*_VALUED, "verify-required"}
_EXTENSIONS = {
    "no-touch-required",
    "permit-X11-forwarding",
    "permit-agent-forwarding",
    "permit-port-forwarding",
    "permit-pty",
    "permit-user-rc",
}


def _block(title: str, lines: list[str]) -> list[str]:
    return (
        [f"{title}: ", *(f"        {line}" for line in lines)] if lines else [f"{title}: (none)"]
    )


def _options(options, known: set[str]) -> list[str]:
    lines = []
    for name, data in options.pairs:
        if name in known:
            lines.append(f"{name} {options[name]}" if name in _VALUED else name)
        elif data:
            lines.append(f"{name} UNKNOWN OPTION: {data.hex()} (len {len(data)})")
        else:
            lines.append(f"{name} UNKNOWN FLAG OPTION")
    return lines


def listing(certificate: Certificate) -> list[str]:
    """Say what `ssh-keygen -L` says below the file's name, when TZ is UTC."""
    contents = certificate.contents

    def shown(key: PublicKey) -> str:
        return _SHOWN[key.algorithm]

    after, before = (
        time.strftime("%Y-%m-%dT%H:%M:%S")
        for time in (contents.valid_after, contents.valid_before)
    )
    if contents.valid_before == FOREVER:
        valid = "forever" if contents.valid_after.timestamp() == 0 else f"after {after}"
    else:
        valid = f"from {after} to {before}"
    signer = contents.signature_key
    return [
        f"Type: {contents.algorithm} {contents.type.name.lower()} certificate",
        f"Public key: {shown(contents.subject_key)}-CERT {contents.subject_key.fingerprint}",
        f"Signing CA: {shown(signer)} {signer.fingerprint} (using {certificate.signature_algorithm})",
        f'Key ID: "{contents.key_id}"',
        f"Serial: {contents.serial}",
        f"Valid: {valid}",
        *_block("Principals", list(contents.principals)),
        *_block(
            "Critical Options",
            _options(contents.critical_options, _CRITICAL_OPTIONS),
        ),
        *_block("Extensions", _options(contents.extensions, _EXTENSIONS)),
    ]
