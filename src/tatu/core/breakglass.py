"""What a break-glass certificate may be: short, from a named place, for one account (S20).

It is signed offline and no ledger knows it, so all that holds it is what it says.
`agent.breakglass` has the same rules.
"""

from datetime import timedelta

from tatu.core import accounts, lint
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.errors import Malformed

MAX_VALIDITY = timedelta(hours=4)


def check(certificate: Certificate) -> None:
    """Make sure that hosts let this certificate in; raises `Malformed`."""
    limits = lint.Limits(
        max_user_validity=MAX_VALIDITY,
        max_host_validity=MAX_VALIDITY,
        reserved=accounts.RESERVED_ACCOUNTS,
    )
    lint.check(certificate, limits)
    contents = certificate.contents
    sources = contents.critical_options.get("source-address", "").split(",")
    for rule, holds in (
        ("is for a user", contents.type is CertificateType.USER),
        ("names one account", len(contents.principals) == 1),
        (
            f"is valid for at most {MAX_VALIDITY}",
            contents.valid_before - contents.valid_after <= MAX_VALIDITY,
        ),
        # /0 says every address: a way to leave the option out
        (
            "is for named source addresses",
            all(source and not source.endswith("/0") for source in sources),
        ),
    ):
        if not holds:
            raise Malformed(f"a break-glass certificate {rule}")
