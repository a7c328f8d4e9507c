"""`tatu-manage audit`: the audit chain (security.md S23)."""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from tatu import bootstrap
from tatu.bootstrap import Application
from tatu.core import audit
from tatu.core.audit import GENESIS, Checkpoint, Link
from tatu.core.errors import Denied, Malformed, Unavailable
from tatu.core.keys import PublicKey
from tatu.core.sshsig import Namespace, SshSignature
from tatu.manage import opening
from tatu.ports import Audit
from tatu.service.audit import SignedCheckpoint

_PAGE = 1000


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    command = commands.add_parser(
        "verify", help="walk the chain, and compare it with what you kept"
    )
    command.add_argument(
        "--copy",
        type=Path,
        metavar="FILE",
        help="an audit copy or export that the chain must hold",
    )
    command.add_argument(
        "--checkpoint", type=Path, metavar="FILE", help="a checkpoint that the chain must hold"
    )
    command.set_defaults(run=_verify)
    command = commands.add_parser("export", help="write the chain, one JSON object a line")
    command.add_argument("file", metavar="FILE", help="file to write, - for standard output")
    command.set_defaults(run=_export)
    command = commands.add_parser(
        "checkpoint", help="sign how the chain stands; keep it elsewhere"
    )
    command.add_argument("file", metavar="FILE", nargs="?", default="-")
    command.set_defaults(run=_checkpoint)


def _verify(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        kept = dict(_kept(application, parsed))
        found = {sequence: GENESIS for sequence in (0,) if sequence in kept}

        def watched() -> Iterator[Link]:
            for link in _chain(application.ledger.audit):
                if link.sequence in kept:
                    found[link.sequence] = link.hash
                yield link

        try:
            sequence, head = audit.check(watched())
        except Malformed as error:
            raise Unavailable(str(error)) from error
    for at in sorted(kept):
        if found.get(at) != kept[at]:
            raise Unavailable(f"the chain was rewritten, or cut: event {at} is not what was kept")
    print(f"the chain is whole: {sequence} events, {head}")


def _kept(application: Application, parsed: argparse.Namespace) -> Iterator[tuple[int, str]]:
    """Yield what the chain must hold: sequences and hashes."""
    if parsed.copy is not None:
        yield audit.check(bootstrap.read_audit_copy(parsed.copy))
    if parsed.checkpoint is not None:
        checkpoint = _checked(application, _read(parsed.checkpoint))
        yield checkpoint.sequence, checkpoint.hash


def _export(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        lines = (bootstrap.audit_line(link).decode() for link in _chain(application.ledger.audit))
        _write(parsed.file, lines)


def _checkpoint(parsed: argparse.Namespace) -> None:
    with opening.application(parsed) as application:
        signed = application.checkpoints.sign()
    facts = {
        "checkpoint": json.loads(signed.checkpoint.encoded),
        "signature": signed.signature,
        "public_key": signed.public_key,
    }
    _write(parsed.file, iter([json.dumps(facts, indent=2) + "\n"]))


def _chain(chain: Audit) -> Iterator[Link]:
    after = 0
    while links := chain.read(after=after, limit=_PAGE):
        yield from links
        after = links[-1].sequence


def _write(name: str, lines: Iterator[str]) -> None:
    if name == "-":
        sys.stdout.writelines(lines)
        return
    try:
        with Path(name).open("x", encoding="utf-8") as file:
            file.writelines(lines)
    except OSError as error:
        raise Unavailable(f"{name}: {error.strerror}") from error


def _read(path: Path) -> SignedCheckpoint:
    try:
        facts: Any = json.loads(path.read_text())
        claim = facts["checkpoint"]
        return SignedCheckpoint(
            checkpoint=Checkpoint(
                deployment=str(claim["deployment"]),
                sequence=int(claim["sequence"]),
                hash=str(claim["hash"]),
                at=datetime.fromisoformat(claim["at"]),
            ),
            signature=str(facts["signature"]),
            public_key=str(facts["public_key"]),
        )
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(f"{path} is no checkpoint") from error


def _checked(application: Application, signed: SignedCheckpoint) -> Checkpoint:
    """Return the checkpoint when this deployment's own key signed it; raises `Denied`."""
    signature = SshSignature.parse(signed.signature)
    own = PublicKey.parse(application.checkpoints.sign().public_key)
    if own != signature.public_key or signed.checkpoint.deployment != application.deployment:
        raise Denied("the checkpoint is not signed by the audit key of this deployment")
    application.verifier.verify(
        own,
        signature.signature,
        signature.signed_bytes(Namespace.CHECKPOINT, signed.checkpoint.encoded),
    )
    return signed.checkpoint
