"""Which break-glass certificates are handed out, and which hosts take: the same (security.md S20)."""

from datetime import UTC, datetime, timedelta

import pytest

from tatu.agent import breakglass as agent
from tatu.agent.errors import AgentError
from tatu.agent.keys import UserCertificate
from tatu.agent.layout import Layout
from tatu.agent.statement import BreakGlass
from tatu.core import breakglass
from tatu.core.certificate import CertificateType
from tatu.core.errors import Malformed
from tests.fakes.tatu_server import Key, certify

OFFLINE, SUBJECT = Key(), Key()
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
USUAL = {
    "principals": ("breakglass",),
    "type": CertificateType.USER,
    "valid_after": NOW,
    "valid_before": NOW + timedelta(hours=4),
    "critical_options": {"source-address": "192.0.2.1/32,2001:db8::/32"},
}


def made(**changes):
    return certify(OFFLINE, SUBJECT.public, **{**USUAL, **changes})


def test_a_short_certificate_from_named_places_is_taken(capsys):
    breakglass.check(made())
    assert agent.main(["breakglass", *made().line.split()]) == 0
    assert capsys.readouterr().out == "breakglass\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"critical_options": {}},
        {"critical_options": {"source-address": ""}},
        {"critical_options": {"source-address": "0.0.0.0/0"}},
        {"critical_options": {"source-address": "192.0.2.1/32,::/0"}},
        {"critical_options": {"source-address": "192.0.2.1/32,"}},
        {"valid_before": NOW + timedelta(hours=4, seconds=1)},
        {"valid_before": datetime.max.replace(tzinfo=UTC)},
        {"principals": ("breakglass", "admin")},
        {"principals": ()},
        {"type": CertificateType.HOST},
    ],
    ids=str,
)
def test_what_is_not_handed_out_is_not_taken(changes, capsys):
    certificate = made(**changes)
    with pytest.raises(Malformed):
        breakglass.check(certificate)
    assert agent.main(["breakglass", *certificate.line.split()]) == 1
    assert capsys.readouterr().out == ""


def test_to_look_at_what_should_be_there_makes_nothing(tmp_path):
    layout = Layout(tmp_path, tmp_path / "sshd_config", "/usr/sbin/sshd", "tatu", "")
    assert agent.door(layout, None) is None
    door = agent.door(layout, BreakGlass((OFFLINE.public.line,), "breakglass"))
    assert door.account == "breakglass"
    assert f"-ISE {tmp_path}/usr/lib/tatu-agent/breakglass " in door.command
    assert door.command.endswith(" breakglass %t %k")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("account", ["admin", "breakglass\n", ""])
def test_a_certificate_opens_the_account_that_it_names(account):
    with pytest.raises(AgentError):
        agent.check(UserCertificate.parse(made().line), account)


@pytest.mark.parametrize("words", [[], ["x"], ["x", "y", "z"], ["ssh-ed25519", "AAAA"]])
def test_what_is_no_certificate_opens_nothing(words, capsys):
    assert agent.main(["breakglass", *words]) == 1
    assert capsys.readouterr().out == ""
