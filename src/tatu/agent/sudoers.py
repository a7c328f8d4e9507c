"""sudo for managed accounts as the statement says, and for no other managed account.

What the rest of the configuration gives to everybody, or to a group that is named as the account,
is taken from managed accounts: of two rules that fit sudo takes the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tatu.agent import files, place
from tatu.agent.layout import Layout
from tatu.agent.signatures import run
from tatu.agent.statement import Statement
from tatu.agent.text import WRITTEN

_MODE = 0o440
_PROVEN = (
    # the proof is asked for each time, of whoever asks and not of root
    "authenticate",
    "passwd_tries=1",
    "timestamp_timeout=0",
    "!targetpw",
    "!rootpw",
    "!runaspw",
)


def keep(layout: Layout, accounts: Sequence[str], newest: Statement) -> None:
    """Write who of these accounts may become root; raises `AgentError` unless sudo could read it.

    With `pam_sudo` sudo asks its PAM stack, which asks for a proof; no account has a password.
    Of break-glass nothing is asked: a proof takes a fresh list of what is revoked.
    """
    if not layout.sudoers.parent.is_dir():
        return  # there is no sudo here
    data = rules(accounts, newest)
    if files.read(layout.sudoers, place.MAX_FILE) != data:
        # Tried where no sudo looks: a file that cannot be read would take sudo from everybody
        candidate = layout.state / "sudoers"
        files.write(candidate, data, _MODE)
        run(["visudo", "-c", "-q", "-f", str(candidate)], what="visudo -c")
    place.put(layout, layout.sudoers, data, _MODE)


def rules(accounts: Iterable[str], newest: Statement) -> bytes:
    """Return the file for these accounts."""
    offline = newest.break_glass.account if newest.break_glass else None
    lines = [WRITTEN]
    for name in sorted(accounts):
        if name != offline and name not in newest.sudo:
            lines.append(f"{name} ALL=(ALL:ALL) !ALL")
        elif name != offline and newest.pam_sudo:
            lines += [f"Defaults:{name} {', '.join(_PROVEN)}", f"{name} ALL=(ALL:ALL) PASSWD: ALL"]
        else:
            lines.append(f"{name} ALL=(ALL:ALL) NOPASSWD: ALL")
    return ("\n".join(lines) + "\n").encode()
