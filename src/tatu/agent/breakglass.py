"""The way in when nothing else is (security.md S20): which offline certificates open the account.

sshd runs `breakglass_hook`, which runs this, for each certificate that one of the offline keys
signed: sshd itself knows no longest validity, and takes a certificate without source addresses as
good from everywhere. `tatu.core.breakglass` has the same rules.
"""

from __future__ import annotations

import shlex
import sys
import syslog
from collections.abc import Sequence
from datetime import timedelta

from tatu.agent import hooks, sshd
from tatu.agent.errors import Malformed, Refused
from tatu.agent.keys import UserCertificate
from tatu.agent.layout import Layout
from tatu.agent.statement import BreakGlass

HOOK = "breakglass"
MAX_VALIDITY = timedelta(hours=4)


def door(layout: Layout, offline: BreakGlass | None) -> sshd.BreakGlass | None:
    """Return the account with sshd's `AuthorizedPrincipalsCommand` for it."""
    if offline is None:
        return None
    given = shlex.join([str(hooks.program(layout)), offline.account])
    command = f"{hooks.words(layout, HOOK)} {given} %t %k"
    return sshd.BreakGlass(offline.account, command)


def main(arguments: Sequence[str]) -> int:
    """Print the principal that opens the account by a certificate; nothing, and 1, if none does.

    `arguments` are the account, and the type and the base64 of the certificate.
    """
    account, *line = arguments
    try:
        check(UserCertificate.parse(" ".join(line)), account)
    except (Malformed, Refused) as error:
        syslog.openlog("tatu-breakglass", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
        syslog.syslog(syslog.LOG_WARNING, f"a break-glass login is refused: {error}")
        return 1
    sys.stdout.write(f"{account}\n")
    return 0


def check(certificate: UserCertificate, account: str) -> None:
    """Raise `Refused` unless a certificate is short, from named places, and for one account."""
    sources = certificate.critical_options.get("source-address", "").split(",")
    for rule, holds in (
        (f"names {account} alone", certificate.principals == (account,)),
        (
            f"is valid for at most {MAX_VALIDITY}",
            certificate.valid_before - certificate.valid_after <= MAX_VALIDITY,
        ),
        # /0 says every address: a way to leave the option out
        (
            "is for named source addresses",
            all(source and not source.endswith("/0") for source in sources),
        ),
    ):
        if not holds:
            raise Refused("break-glass", f"a break-glass certificate {rule}")
