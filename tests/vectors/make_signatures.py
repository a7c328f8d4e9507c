"""Make `sshsig/`: what ssh-keygen signs, one file for each type of key and one for what we refuse.

Run as `python -m tests.vectors.make_signatures`; keys are made anew and thrown away.
"""

import json
import subprocess
import tempfile
from pathlib import Path

TARGET = Path(__file__).parent / "sshsig"
MESSAGE = "what is signed\n"

# name: (what it shows, arguments that make the key, namespace, more arguments, why we refuse it)
SCENARIOS = {
    "ed25519": ("Ed25519", "-t ed25519", "login@tatu", "", None),
    "ecdsa256": ("ECDSA on P-256", "-t ecdsa -b 256", "subject@tatu", "", None),
    "ecdsa384": ("ECDSA on P-384", "-t ecdsa -b 384", "enrol@tatu", "", None),
    "ecdsa521": ("ECDSA on P-521", "-t ecdsa -b 521", "host@tatu", "", None),
    "rsa": ("RSA", "-t rsa -b 3072", "statement@tatu", "", None),
    "sha256": ("a SHA-256 of the message", "-t ed25519", "sudo@tatu", "-O hashalg=sha256", None),
    "file": ("another purpose", "-t ed25519", "file", "", "the signature is for 'file'"),
}


def main():
    for name, (shows, key, namespace, more, refused) in SCENARIOS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "key"
            make = ("ssh-keygen", "-q", *key.split(), "-N", "", "-C", "", "-f", path)
            subprocess.run(make, check=True)
            sign = ("ssh-keygen", "-Y", "sign", "-n", namespace, *more.split(), "-f", path)
            done = subprocess.run(sign, check=True, input=MESSAGE, capture_output=True, text=True)
            scenario = {
                "shows": shows,
                "public_key": path.with_suffix(".pub").read_text().strip(),
                "namespace": namespace,
                "message": MESSAGE,
                "armored": done.stdout,
                "refused": refused,
            }
        (TARGET / f"{name}.json").write_text(json.dumps(scenario, indent=2) + "\n")


if __name__ == "__main__":
    main()
