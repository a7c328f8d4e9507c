"""One public key of each type; the private halves are gone."""

from base64 import b64decode

from tatu.core import wire
from tatu.core.keys import PublicKey

RSA = PublicKey(
    "ssh-rsa",
    b64decode(
        "AAAAB3NzaC1yc2EAAAADAQABAAABAQDjaHSdmW3I3s60Fw+RaSnU7cbQf0OgJdhtTDEq4+hCEcqQ"
        "aBR/I/sfcToi/xaDC+UJTf297gpMocX82/TM7ZOkltrB+3Jfac00LgFtm8NHYHddCl4Y5EYCxTA1"
        "FOdhCkEj0FLTcybCxlYpERtvmJqggWve9IYVyyEU62SebZV/Y7GrKWXUrmdaozIPBPWavRxDvzxo"
        "MIb+LcmAdEOlZ6kMUfq0G5A1Y2uV8Z6cGBzV0XCLKygXlkE5hT+wyBHC/azXlidl+U7S+/U5ff+Z"
        "q1H5tYoYts4KfUsDZ/MU0OZ7qhMFdDsUH6HsMKGT2au3aJMSahtsg6DrCwRjmSPikCpf"
    ),
)
ECDSA_256 = PublicKey(
    "ecdsa-sha2-nistp256",
    b64decode(
        "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBC6qlRQEyTrqFvUxxLA+sVQ6"
        "rppV7Nd1ykdCjLMDwMTOe6JUs7TR5IR7Ne0GpPiibwcktKyKuX0aG6yTrh/k1uI="
    ),
)
ECDSA_384 = PublicKey(
    "ecdsa-sha2-nistp384",
    b64decode(
        "AAAAE2VjZHNhLXNoYTItbmlzdHAzODQAAAAIbmlzdHAzODQAAABhBHL0hFZvr+n4zMiQxKfu+Y/L"
        "X/EsS+HCie1H4SINw0jEWOKays2yyjr8FzkPv7mqBeirZj0uYNVdK7q/n4F/wt/LAQJiggW25nDQ"
        "AmCGBQyYK2wmb5ASF91bLvR7EAOe1w=="
    ),
)
ECDSA_521 = PublicKey(
    "ecdsa-sha2-nistp521",
    b64decode(
        "AAAAE2VjZHNhLXNoYTItbmlzdHA1MjEAAAAIbmlzdHA1MjEAAACFBAA83i16pXQbHHh/VR0EU7ib"
        "pT5YEavEsqvWhQerkWYSW8Ts7yasY64k78DcLksRlYbjHPEggpFCdlK/plJOwGJGCQCP71PB/wWp"
        "AgD/7VjOjjz3GvdKk30qr7/4BtRct7HV9FuTglzHWRILdUWFpyFZ6z43CbT1iA/rJvsOYEGjdxo2"
        "JA=="
    ),
)
ED25519 = PublicKey(
    "ssh-ed25519",
    b64decode("AAAAC3NzaC1lZDI1NTE5AAAAILG9ne0TZP2Nym6cRjB1I0wLAB49v1D1aZSRvWqWtIBC"),
)


def sk(plain: PublicKey, algorithm: str, application: str = "ssh:") -> PublicKey:
    """A security key's public half, which differs from a plain one in name and application."""
    return PublicKey(algorithm, wire.string(algorithm) + plain.fields + wire.string(application))


SK_ED25519 = sk(ED25519, "sk-ssh-ed25519@openssh.com")
SK_ECDSA = sk(ECDSA_256, "sk-ecdsa-sha2-nistp256@openssh.com")

KEYS = (RSA, ECDSA_256, ECDSA_384, ECDSA_521, ED25519, SK_ED25519, SK_ECDSA)
