"""A statement as an agent has read it."""

from datetime import timedelta

from tatu.agent import statement as agent_statement
from tatu.core import statement
from tatu.core.statement import BreakGlass, Freshness, FreshnessPolicy, Statement


def stated(ca, signer, offline, now, **changes):
    """Return one of the authority `blue`, with accounts, sudo by proof and break-glass."""
    facts = {
        "deployment": "d",
        "authority": "blue",
        "host": "*",
        "version": 7,
        "issued": now,
        "expires": now + timedelta(minutes=15),
        "krl_version": 7,
        "krl_digest": statement.digest(b""),
        "user_authorities": (ca.public,),
        "host_authorities": (),
        "statement_keys": (signer.public,),
        "accounts": {"admin": ("admin",), "member": ("member",)},
        "sudo": ("admin",),
        "pam_sudo": True,
        "end_at_expiry": False,
        "break_glass": BreakGlass(authorities=(offline.public,), account="rescue"),
        "freshness": Freshness(policy=FreshnessPolicy.WARN, max_age_seconds=3600),
        "minimum_agent_version": "0.1",
        "lockdown": False,
    }
    said = Statement(**{**facts, **changes})
    return agent_statement.decode(statement.encode(said))
