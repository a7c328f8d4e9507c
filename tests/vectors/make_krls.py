"""Make `krl/`: lists that ssh-keygen writes, with what it was told to revoke; one file each.

Run as `python -m tests.vectors.make_krls`; keys are made anew and thrown away.
"""

import base64
import json
import subprocess
import tempfile
from pathlib import Path

TARGET = Path(__file__).parent / "krl"

# name: (what it shows, what to revoke, with which signature key, why we refuse it)
SCENARIOS = {
    "empty": ("nothing is revoked", "", "ca.pub", None),
    "one": ("one serial", "serial: 5", "ca.pub", None),
    "list": (
        "serials far apart",
        "serial: 5\nserial: 70000\nserial: 18446744073709551615",
        "ca.pub",
        None,
    ),
    "range": ("a long run", "serial: 5-90000", "ca.pub", None),
    "bitmap": (
        "serials close by",
        "\n".join(f"serial: {n}" for n in range(7, 4000, 9)),
        "ca.pub",
        None,
    ),
    "key-ids": ("key IDs", "id: alice_1\nid: bob the builder", "ca.pub", None),
    "key-hash": ("a key by its hash", "hash: {subject_hash}", "ca.pub", None),
    "authority": ("a whole authority", "key: {ca}", "ca.pub", None),
    "all": (
        "all of it",
        "serial: 1-9\nserial: 99\nid: x\nhash: {subject_hash}\nkey: {ca}",
        "ca.pub",
        None,
    ),
    "sha1": ("a key by its SHA-1", "sha1: {subject}", "ca.pub", "SHA-1"),
    "every-authority": ("serials of no authority", "serial: 5", "none", "the public key"),
    "too-wide": (
        "a bitmap that locks everybody out",
        "\n".join(f"serial: {n}" for n in range(1, 16_451, 10)),
        "ca.pub",
        "16384 bits",
    ),
}


def run(folder, *command):
    return subprocess.run(command, check=True, cwd=folder, capture_output=True, text=True).stdout


def scenario(folder, shows, wanted, signature_key, refused):
    for name in ("ca", "subject"):
        run(folder, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name)
    known = {name: (folder / f"{name}.pub").read_text().strip() for name in ("ca", "subject")}
    known["subject_hash"] = run(folder, "ssh-keygen", "-l", "-f", "subject.pub").split()[1]
    revoke = wanted.format(**known)
    (folder / "wanted").write_text(revoke + "\n")
    run(folder, "ssh-keygen", "-q", "-k", "-f", "krl", "-s", signature_key, "-z", "9", "wanted")
    return {
        "shows": shows,
        "revoke": revoke.splitlines(),
        "ca": known["ca"],
        "subject": known["subject"],
        "version": 9,
        "krl": base64.b64encode((folder / "krl").read_bytes()).decode(),
        "refused": refused,
    }


def main():
    for name, arguments in SCENARIOS.items():
        with tempfile.TemporaryDirectory() as folder:
            made = scenario(Path(folder), *arguments)
        (TARGET / f"{name}.json").write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
