"""A decision stands for a second: then the operator's policy file is looked at again."""

import os
from datetime import UTC, datetime

from oslo_config import cfg
from oslo_policy import opts

from tatu.api.access import DECIDED_FOR, Access
from tatu.core.errors import Denied
from tatu.core.identity import Identity, Role

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE = "tatu:hosts:list"


def caller(*roles):
    return Identity(
        issuer="local",
        subject="alice",
        name="alice",
        project="blue",
        roles=frozenset(Role(id=role, name=role) for role in roles),
        mark=0,
        validated_at=NOW,
        expires_at=NOW,
    )


def allows(access, identity):
    try:
        access.require(identity, RULE, {"authority": "blue"})
    except Denied:
        return False
    return True


def test_a_changed_policy_file_counts_within_a_second_and_roles_at_once(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text(f'"{RULE}": "role:reader"\n')
    ticks = [0.0]
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    opts.set_defaults(conf)
    conf.set_override("policy_file", str(file), group="oslo_policy")
    access = Access(conf, ticks=lambda: ticks[0])

    assert allows(access, caller("reader"))
    assert not allows(access, caller("member"))

    file.write_text(f'"{RULE}": "role:member"\n')
    os.utime(file, (2e9, 2e9))
    ticks[0] = DECIDED_FOR

    assert not allows(access, caller("reader"))
    assert allows(access, caller("member"))
