"""What sshd does with a revocation list, as PROTOCOL.krl tells it."""

import hashlib

from tatu.core.keys import PublicKey
from tatu.core.krl import Krl


def is_revoked(
    krl: Krl, *, signature_key: PublicKey, serial: int, key_id: str, subject_key: PublicKey
) -> bool:
    """Say whether sshd with this list refuses the certificate."""
    keys = (subject_key, signature_key)
    return (
        any(key in krl.whole_authorities for key in keys)
        or any(hashlib.sha256(key.blob).digest() in krl.revoked_key_hashes for key in keys)
        or (signature_key in krl.serials and serial in krl.serials[signature_key])
        or key_id in krl.key_ids.get(signature_key, ())
    )
