"""What the Keystone driver takes, and what it does not believe (security.md S4, S5, S9, S21)."""

import logging
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from oslo_config import cfg

from tatu import bootstrap, config
from tatu.core.errors import Malformed, NotFound, Unauthenticated, Unavailable
from tatu.core.identity import APPLICATION_CREDENTIAL, FEDERATION, MAX_ID, TRUST, Role
from tatu.drivers import loading
from tatu.drivers.identity import keystone as driver
from tatu.drivers.identity import keystone_listings
from tatu.ports import Request
from tests.contract.identity.test_identity import KeystoneCase
from tests.fakes.keystone import URL

ASKED = "GET /auth/tokens"


@pytest.fixture
def case(deployment):
    return KeystoneCase(deployment)


@pytest.fixture
def keystone(case):
    return case.keystone


@pytest.fixture
def provider(case):
    return case.provider


def request(token, path="/v2/hosts", method="GET", **headers):
    headers = {"x-auth-token": token, **headers}
    return Request(method=method, path=path, body_digest="", headers=headers)


# --- tokens ---------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "", " ", "a b", "é", "x\x7f", "x" * 3_073])
def test_what_can_be_no_token_is_not_asked_for(provider, keystone, token):
    headers = {} if token is None else {"x-auth-token": token}
    with pytest.raises(Unauthenticated) as raised:
        provider.authenticate(Request(method="GET", path="/", body_digest="", headers=headers))
    assert keystone.asked == []
    assert not (token or "").strip() or token not in str(raised.value)


def test_a_bearer_header_is_none_of_keystones(provider, keystone):
    headers = {"authorization": f"Bearer {keystone.token('ann', 'blue')}"}
    with pytest.raises(Unauthenticated):
        provider.authenticate(Request(method="GET", path="/", body_digest="", headers=headers))


def test_a_known_token_is_not_asked_for_again_for_a_minute_and_no_longer(
    provider, keystone, deployment
):
    asking = request(keystone.token("ann", "blue"))
    first = provider.authenticate(asking)
    assert keystone.asked.count(ASKED) == 1
    deployment.clock.forward(seconds=59)
    assert provider.authenticate(asking) is first
    deployment.clock.forward(seconds=1)
    assert provider.authenticate(asking) is not first
    assert keystone.asked.count(ASKED) == 2
    deployment.clock.forward(seconds=-120)  # a clock that is set back lengthens nothing
    provider.authenticate(asking)
    assert keystone.asked.count(ASKED) == 3


def test_uncached_keystone_itself_is_asked_and_what_it_says_is_remembered(provider, keystone):
    token = keystone.token("ann", "blue")
    asking = request(token)
    first = provider.authenticate(asking)
    again = provider.authenticate(asking, cached=False)
    assert again is not first
    assert provider.authenticate(asking) is again
    keystone.end(token)
    for cached in (False, True):
        with pytest.raises(Unauthenticated):
            provider.authenticate(asking, cached=cached)


def test_the_mark_is_read_before_keystone_is_asked(case, deployment):
    class Marks:
        def mark(self):
            asked.append("mark")
            return 3

    asked = case.keystone.asked
    provider = case.keystone.provider(deployment.clock, Marks())
    assert provider.authenticate(request(case.keystone.token("ann"))).mark == 3
    assert asked.index("mark") < asked.index(ASKED)


def test_a_token_that_keystone_vouches_for_after_its_end_is_refused(provider, keystone):
    token = keystone.token("ann", "blue", expires_at="2020-01-01T00:00:00.000000Z")
    with pytest.raises(Unauthenticated):
        provider.authenticate(request(token))


@pytest.mark.parametrize(
    ("said", "project", "roles"),
    [
        ({"system": {"all": True}}, None, {"admin"}),
        ({"system": {}}, None, set()),
        ({"domain": {"id": "default", "name": "Default"}}, None, set()),
        ({"project": {"id": "default", "name": "D"}, "is_domain": True}, None, set()),
        ({"project": {"id": "blue", "name": "B"}, "is_domain": False}, "blue", {"admin"}),
        ({}, None, set()),
    ],
)
def test_only_a_project_or_the_system_gives_roles(provider, keystone, said, project, roles):
    token = keystone.token("ann", roles=[{"id": "id-admin", "name": "admin"}], **said)
    identity = provider.authenticate(request(token))
    assert (identity.project, identity.role_names) == (project, roles)


@pytest.mark.parametrize(
    "methods",
    [
        [],
        ["oauth1"],
        ["ec2credential"],
        ["oauth2_credential"],
        ["application_credential"],
        ["application_credential", "token"],
        ["password", "ec2credential"],
        ["made-tomorrow"],
    ],
)
def test_what_may_have_been_lent_is_refused(provider, keystone, methods):
    with pytest.raises(Unauthenticated, match="lends"):
        provider.authenticate(request(keystone.token("ann", "blue", methods=methods)))


def test_a_clouds_own_way_to_sign_in_is_taken_once_it_is_named(case, deployment):
    cut_offs = deployment.ledger.cut_offs
    provider = case.keystone.provider(deployment.clock, cut_offs, sign_in_methods=["badge"])
    token = case.keystone.token("ann", "blue", methods=["badge", "totp"])
    assert provider.authenticate(request(token)).name == "ann"


def test_a_federated_user_is_told_by_their_provider_and_ends_within_the_hour(provider, keystone):
    user = {
        "id": "9f" * 32,
        "name": "ann@corp",
        "domain": {"id": "far", "name": "far"},
        "OS-FEDERATION": {"identity_provider": {"id": "corp"}, "protocol": {"id": "openid"}},
    }
    token = keystone.token("ann", "blue", user=user, methods=["mapped", "token"])
    identity = provider.authenticate(request(token))
    assert (identity.subject, identity.origin) == ("9f" * 32, f"{FEDERATION}corp")
    assert identity.ends_by == identity.validated_at + timedelta(hours=1)


@pytest.mark.parametrize("long", ["user", "project"])
def test_an_id_that_the_ledger_does_not_hold_is_refused(provider, keystone, long):
    for length, taken in ((MAX_ID, True), (MAX_ID + 1, False)):
        said = {long: {"id": "\U0001f511" * length, "name": "ann", "domain": {"id": "default"}}}
        asked = request(keystone.token("ann", "blue", **said))
        if taken:
            provider.authenticate(asked)
        else:
            with pytest.raises(Unauthenticated, match="too long"):
                provider.authenticate(asked)


@pytest.mark.parametrize("ends", [timedelta(minutes=10), timedelta(days=10), None])
def test_an_application_credential_says_when_it_ends(provider, keystone, deployment, ends):
    until = ends and deployment.clock() + ends
    keystone.lend("application_credential", "7", until)
    lent = {"application_credential": {"id": "7", "restricted": True}}
    token = keystone.token("ann", "blue", methods=["application_credential"], **lent)
    identity = provider.authenticate(request(token))
    assert (identity.origin, identity.ends_by) == ("application-credential:7", until)
    assert provider.authenticate(request(token)) is identity
    assert keystone.asked.count("GET /users/id-ann/application_credentials/7") == 1


def test_a_token_whose_application_credential_is_gone_is_refused(provider, keystone):
    lent = {"application_credential": {"id": "7"}}
    token = keystone.token("ann", "blue", methods=["application_credential"], **lent)
    with pytest.raises(Unauthenticated, match="gone"):
        provider.authenticate(request(token))


def test_access_rules_hold_for_each_method_and_path_and_no_service_token_lifts_them(
    provider, keystone
):
    keystone.lend("application_credential", "7", None)
    rules = [{"id": "r", "service": "ssh", "method": "GET", "path": "/v2/hosts"}]
    lent = {"application_credential": {"id": "7", "access_rules": rules}}
    token = keystone.token("ann", "blue", methods=["application_credential"], **lent)
    first = provider.authenticate(request(token))
    assert provider.authenticate(request(token)) is first
    service = keystone.token("bob", "blue", roles=[{"id": "s", "name": "service"}])
    for refused in (
        request(token, "/v2/authorities"),
        request(token, method="DELETE"),
        request(token, "/v2/authorities", **{"x-service-token": service}),
        request(token, "/v2/hosts/"),
    ):
        with pytest.raises(Unauthenticated):
            provider.authenticate(refused)


def test_rules_without_any_path_allow_nothing(provider, keystone):
    lent = {"application_credential": {"id": "7", "access_rules": []}}
    token = keystone.token("ann", "blue", methods=["application_credential"], **lent)
    with pytest.raises(Unauthenticated):
        provider.authenticate(request(token))


BOB = {"id": "id-bob"}


@pytest.mark.parametrize(("allowed", "impersonation"), [(False, True), (True, False)])
def test_a_trust_is_refused_unless_it_is_allowed_and_impersonates(
    case, deployment, allowed, impersonation
):
    cut_offs = deployment.ledger.cut_offs
    provider = case.keystone.provider(deployment.clock, cut_offs, allow_trust_tokens=allowed)
    trust = {"OS-TRUST:trust": {"id": "9", "impersonation": impersonation, "trustee_user": BOB}}
    case.keystone.lend("trust", "9", deployment.clock() + timedelta(hours=1))
    with pytest.raises(Unauthenticated, match="trust"):
        provider.authenticate(request(case.keystone.token("ann", "blue", **trust)))


def test_an_allowed_trust_is_the_origin_and_the_end(case, deployment):
    cut_offs, until = deployment.ledger.cut_offs, deployment.clock() + timedelta(minutes=5)
    provider = case.keystone.provider(deployment.clock, cut_offs, allow_trust_tokens=True)
    case.keystone.lend("trust", "9", until)
    trust = {"OS-TRUST:trust": {"id": "9", "impersonation": True, "trustee_user": BOB}}
    identity = provider.authenticate(request(case.keystone.token("ann", "blue", **trust)))
    assert (identity.origin, identity.ends_by) == ("trust:9", until)
    assert (identity.subject, identity.trustee) == ("id-ann", "id-bob")


def test_a_trust_stands_no_more_when_its_trustee_is_disabled_or_gone(
    provider, keystone, deployment
):
    keystone.lend("trust", "9", None)
    provider.lent("id-ann", "trust:9")
    deployment.ledger.directory.enable_user("id-bob", deployment.event(), enabled=False)
    with pytest.raises(NotFound):
        provider.lent("id-ann", "trust:9")
    keystone.trustee = "nobody"
    with pytest.raises(NotFound):
        provider.lent("id-ann", "trust:9")


def test_what_a_federated_user_lent_is_good_for_an_hour_and_of_others_as_they_say(
    provider, keystone, deployment
):
    lent = {"application_credential": {"id": "7"}, "methods": ["application_credential"]}
    keystone.lend("application_credential", "7", None)
    keystone.federated.append("id-ann")
    found = provider.authenticate(request(keystone.token("ann", "blue", **lent)))
    assert found.ends_by - found.validated_at == timedelta(hours=1)
    assert provider.user("id-ann").federated
    other = provider.authenticate(request(keystone.token("bob", "blue", **lent)))
    assert other.ends_by is None
    assert not provider.user("id-bob").federated


LOANS = [(APPLICATION_CREDENTIAL, "application_credential"), (TRUST, "trust")]


@pytest.mark.parametrize(("prefix", "kind"), LOANS)
def test_what_was_lent_stands_until_keystone_says_that_it_is_no_more(
    provider, keystone, prefix, kind
):
    keystone.lend(kind, "7", None)
    provider.lent("id-ann", f"{prefix}7")
    with pytest.raises(NotFound):
        provider.lent("id-ann", f"{prefix}8")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "The resource could not be found."),
        (404, "Could not find user: id-ann."),
        (403, "You are not authorized to perform the requested action."),
        (500, "Could not find Application Credential: 7."),
    ],
)
def test_no_other_answer_is_the_end_of_what_was_lent(provider, keystone, status, message):
    error = {"error": {"code": status, "message": message, "title": "x"}}
    for path in ("/users/id-ann/application_credentials/7", "/OS-TRUST/trusts/7"):
        keystone.answers[path] = status, error
    for prefix, _ in LOANS:
        with pytest.raises(Unavailable):
            provider.lent("id-ann", f"{prefix}7")


# --- what is not believed -------------------------------------------------------------------


def asks(provider, keystone):
    """Every way to ask, of what is there and of what is not."""
    return [
        provider.check,
        provider.roles,
        lambda: provider.user("nobody"),
        lambda: provider.project("nothing"),
        lambda: provider.effective_roles("id-ann", "blue"),
        lambda: provider.effective_roles("nobody", "blue"),
        lambda: provider.lent("id-ann", f"{APPLICATION_CREDENTIAL}7"),
        lambda: provider.lent("id-ann", f"{TRUST}7"),
        lambda: list(provider.projects()),
        lambda: provider.holders("blue"),
        lambda: provider.authenticate(request(keystone.token("ann", "blue"))),
    ]


@pytest.mark.parametrize(
    "scope",
    [
        {"project": {"id": "service", "name": "service", "domain": {"id": "default"}}},
        {"domain": {"id": "default", "name": "Default"}},
        {"system": {}},
        {},
    ],
)
def test_with_an_own_token_of_another_scope_nothing_is_believed(provider, keystone, scope):
    keystone.own_scope = scope
    for ask in asks(provider, keystone):
        with pytest.raises(Unavailable, match="scope"):
            ask()


def test_while_keystone_is_out_nobody_is_known(provider, keystone):
    known = request(keystone.token("ann", "blue"))
    first = provider.authenticate(known)
    keystone.out = True
    for ask in asks(provider, keystone):
        with pytest.raises(Unavailable):
            ask()
    assert provider.authenticate(known) is first
    with pytest.raises(Unavailable):
        provider.authenticate(known, cached=False)
    keystone.out = False
    provider.authenticate(known, cached=False)


def test_who_brings_one_token_at_the_same_moment_asks_once(provider, keystone):
    token, keystone.hangs = keystone.token("ann", "blue"), threading.Event()
    with ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(provider.authenticate, request(token)) for _ in range(8)]
        assert keystone.reached.wait(10)
        keystone.hangs.set()
        assert {found.result().subject for found in asking} == {"id-ann"}
    assert keystone.asked.count(ASKED) == 1


def test_while_keystone_hangs_one_waits_for_it_and_all_others_are_told_at_once(provider, keystone):
    keystone.out = True
    with pytest.raises(Unavailable):
        provider.check()
    keystone.out, keystone.hangs = False, threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(provider.check)
        assert keystone.reached.wait(10)
        asked = len(keystone.asked)
        for ask in asks(provider, keystone):
            with pytest.raises(Unavailable):
                ask()
        assert len(keystone.asked) == asked
        keystone.hangs.set()
        waiting.result(10)
    provider.user("id-ann")


def test_a_token_over_which_keystone_breaks_off_keeps_nobody_else_waiting(provider, keystone):
    keystone.breaks_off = {"poison"}
    known = request(keystone.token("ann", "blue"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="broke off"):
            provider.authenticate(request("poison"))
    assert keystone.asked.count(ASKED) == 2  # it is not tried again

    assert not provider.reader._keystone.line.broken
    assert provider.authenticate(known)


def test_a_keystone_that_is_away_is_away_over_such_a_token_too(provider, keystone):
    keystone.out = True
    with pytest.raises(Unavailable, match="does not answer"):
        provider.authenticate(request("poison"))
    assert provider.reader._keystone.line.broken
    keystone.breaks_off, keystone.out = {"poison"}, False
    with pytest.raises(Unavailable, match="broke off"):
        provider.authenticate(request("poison"))
    assert not provider.reader._keystone.line.broken


LISTED = {
    "roles": lambda reader: reader.roles(),
    "projects": lambda reader: list(reader.projects()),
    "domains": lambda reader: list(reader.domains()),
    "users": lambda reader: list(reader.users("default")),
    "assignments": lambda reader: reader.assignments("blue"),
}


def has_two(keystone, what, path):
    """Let a list have two pages, if it has but one."""
    if what == "domains":
        keystone.answers[path] = (200, {what: [{"id": "default"}], "truncated": True})
    keystone.page = 1


@pytest.mark.parametrize("what", LISTED)
def test_a_list_that_is_cut_off_is_no_shorter_one(provider, keystone, what):
    keystone.links = False
    has_two(keystone, what, f"/{what}")
    with pytest.raises(Unavailable, match="cut off"):
        LISTED[what](provider.reader)


@pytest.mark.parametrize("what", ["roles", "projects", "users"])
def test_a_list_of_many_pages_is_read_to_its_end(provider, keystone, what):
    found = LISTED[what](provider.reader)
    keystone.page = 1
    assert len(found) > 1
    assert LISTED[what](provider.reader) == found


@pytest.mark.parametrize("what", ["roles", "projects", "users", "assignments"])
def test_a_list_that_begins_anew_where_it_should_go_on_is_no_answer(provider, keystone, what):
    """As one of roles does in Keystone 30, whose store takes no marker."""
    keystone.page, keystone.goes_on = 1, False
    with pytest.raises(Unavailable, match="cut off"):
        LISTED[what](provider.reader)


GONE = {"error": {"code": 404, "message": "Could not find user: nobody.", "title": "Not Found"}}


@pytest.mark.parametrize(
    "answer",
    [
        (404, b"<title>404 Not Found</title>"),
        (404, b""),
        (404, {"error": {"code": 404, "message": "No such path: /v3/users/nobody"}}),
        (404, {"error": {"code": 404, "message": "Could not find user: somebody."}}),
        (404, {"error": {"code": 403, "message": "Could not find user: nobody."}}),
        (403, GONE),
        (410, GONE),
        (500, GONE),
        (503, b"busy"),
        (302, b""),
        (200, b"{"),
        (200, {"user": None}),
        (200, {"user": {"id": "nobody"}}),
        (200, {}),
    ],
)
def test_only_keystones_own_word_on_a_user_is_an_absence(provider, keystone, answer):
    keystone.answers["/users/nobody"] = answer
    for ask in (
        lambda: provider.user("nobody"),
        lambda: provider.effective_roles("nobody", "blue"),
    ):
        with pytest.raises(Unavailable):
            ask()
    keystone.answers["/users/nobody"] = (404, GONE)
    with pytest.raises(NotFound):
        provider.user("nobody")
    assert provider.effective_roles("nobody", "blue") == frozenset()


@pytest.mark.parametrize("status", [400, 403, 404, 500, 503])
def test_a_list_of_assignments_that_cannot_be_had_is_no_empty_one(provider, keystone, status):
    keystone.answers["/role_assignments"] = (status, b"")
    for ask in (
        lambda: provider.effective_roles("id-ann", "blue"),
        lambda: provider.holders("blue"),
    ):
        with pytest.raises(Unavailable):
            ask()


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_a_token_that_keystone_fails_to_judge_is_not_called_worthless(provider, keystone, status):
    keystone.answers["/auth/tokens"] = (status, b"<html>")
    with pytest.raises(Unavailable):
        provider.authenticate(request(keystone.token("ann", "blue")))


def test_in_a_disabled_domain_nobody_has_anything(provider, keystone):
    keystone.domain_enabled = False
    assert provider.effective_roles("id-ann", "blue") == frozenset()
    assert not provider.user("id-ann").enabled
    assert not provider.project("blue").enabled
    assert provider.holders("blue") == {}
    assert {False} == {project.enabled for project in provider.projects()}


def test_no_token_and_no_password_is_in_a_log_or_an_error(provider, keystone, caplog):
    caplog.set_level(logging.INFO)
    token = keystone.token("ann", "blue") + "MARKED"
    known = keystone.token("ann", "blue")
    said = [repr(provider), repr(provider.authenticate(request(known)))]
    echo = {"error": {"code": 404, "message": f"Could not find token: {token}."}}
    for answer in ((404, echo), (500, echo), (200, {"token": token}), (200, {"token": {}})):
        keystone.answers["/auth/tokens"] = answer
        with pytest.raises((Unauthenticated, Unavailable)) as raised:
            provider.authenticate(request(token))
        said += [str(raised.value), "".join(traceback.format_exception(raised.value))]
    for secret in (token, known, "own-token", "hidden"):
        assert secret not in caplog.text
        assert not [text for text in said if secret in text]


# --- listings -------------------------------------------------------------------------------


def test_listings_go_on_over_all_pages(provider, keystone):
    keystone.page = 1
    assert {"blue", "red"} == {project.id for project in provider.projects()}
    assert keystone.asked.count("GET /projects") == 2


def test_a_listing_that_breaks_off_is_an_outage_and_no_end(provider, keystone):
    keystone.page = 1
    found = provider.projects()
    next(found)
    keystone.answers["/projects"] = (500, b"")
    with pytest.raises(Unavailable):
        next(found)


def test_many_holders_are_listed_and_few_are_asked_for(provider, keystone, monkeypatch):
    provider.holders("blue")
    assert "GET /users" not in keystone.asked
    provider.listings._since = None
    monkeypatch.setattr(keystone_listings, "_FEW", 0)
    keystone.asked.clear()
    provider.holders("blue")
    assert keystone.asked.count("GET /users") == 1
    assert not [asked for asked in keystone.asked if asked.startswith("GET /users/")]


def test_some_users_of_each_of_many_projects_are_many(provider, keystone, monkeypatch):
    monkeypatch.setattr(keystone_listings, "_FEW", 1)
    assert provider.listings._enabled(["id-ann"], None) == {"id-ann"}
    assert "GET /users" not in keystone.asked
    assert provider.listings._enabled(["id-bob"], None) == {"id-bob"}
    assert keystone.asked.count("GET /users") == 1


def test_roles_are_kept_for_a_minute_and_their_failure_for_a_moment(
    provider, keystone, deployment
):
    first = provider.roles()
    deployment.clock.forward(seconds=50)
    assert provider.roles() is first
    assert keystone.asked.count("GET /roles") == 1
    assert provider.roles(since=deployment.clock()) == first
    assert keystone.asked.count("GET /roles") == 2
    keystone.out = True
    deployment.clock.forward(seconds=70)
    with pytest.raises(Unavailable):
        provider.roles()
    keystone.out = False
    for since in (None, deployment.clock()):
        with pytest.raises(Unavailable):
            provider.roles(since=since)
    assert keystone.asked.count("GET /roles") == 2
    deployment.clock.forward(seconds=6)
    assert provider.roles() == first


# --- configuration --------------------------------------------------------------------------


def configured(tmp_path, text):
    file = tmp_path / "tatu.conf"
    file.write_text(f"[identity_keystone]\n{text}")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(file)])
    found = loading.find("identity", "keystone")
    loading.register(found, conf)
    return loading.build(found, conf, {"conf": conf, "cut_offs": None, "clock": None})


SIGN_IN = f"auth_type = password\nauth_url = {URL}\nusername = tatu\npassword = hidden\n"


def test_the_issuer_is_keystone_as_callers_know_it(tmp_path):
    assert configured(tmp_path, SIGN_IN).sign_in_url == URL
    public = SIGN_IN + "www_authenticate_uri = https://cloud.example/identity/\n"
    assert configured(tmp_path, public).sign_in_url == "https://cloud.example/identity"


def test_no_secret_is_in_what_a_provider_shows_of_itself(tmp_path):
    assert "hidden" not in repr(configured(tmp_path, SIGN_IN))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "auth_type is required"),
        ("auth_type = none", "asks no Keystone"),
        ("auth_type = never_made", "no such plugin"),
        ("auth_type = password\nusername = tatu\n", "auth_url"),
    ],
)
def test_a_configuration_that_cannot_sign_in_is_refused(tmp_path, text, why):
    with pytest.raises(Malformed, match=why):
        configured(tmp_path, text)


def test_a_plugin_may_read_a_section_of_its_own(tmp_path):
    text = f"auth_section = cloud\n[cloud]\n{SIGN_IN}"
    assert configured(tmp_path, text).sign_in_url == URL


def test_what_the_way_of_signing_in_reads_is_known_and_nothing_else(tmp_path):
    file = tmp_path / "tatu.conf"
    text = (
        "[DEFAULT]\napi_endpoint = https://tatu.example\n[database]\nconnection = sqlite://\n"
        f"[state]\ndirectory = {tmp_path}\n[keystore_local]\nkek_file = {tmp_path}/kek\n"
        f"[identity]\ndriver = keystone\n[identity_keystone]\nsystem_scope = all\n{SIGN_IN}"
    )
    file.write_text(text)
    bootstrap.check_config(config.load(["--config-file", str(file)]))
    file.write_text(f"{text}usrname = tatu\n")
    with pytest.raises(Malformed, match="usrname"):
        bootstrap.check_config(config.load(["--config-file", str(file)]))


def test_an_unchecked_certificate_is_warned_of(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(driver.LOG, "warning", lambda event, **facts: told.append(facts))
    configured(tmp_path, SIGN_IN)
    assert told == []
    configured(tmp_path, SIGN_IN + "insecure = true\n")
    assert [facts["section"] for facts in told] == ["identity_keystone"]


INVENTORY = Role(id="id-inventory", name="tatu-inventory")
THERE = {"domain": {"id": "default"}, "OS-INHERIT:inherited_to": "projects"}


@pytest.mark.parametrize(
    ("role", "scope", "names"),
    [
        (INVENTORY.id, THERE, ()),
        (INVENTORY.id, {"domain": {"id": "default"}}, ("Default",)),
        (INVENTORY.id, {**THERE, "domain": {"id": "other"}}, ("Default",)),
        (INVENTORY.id, {"system": {"all": True}}, ("Default",)),
        ("id-member", THERE, ("Default",)),
    ],
)
def test_a_domain_that_tatu_has_no_role_in_is_named(case, deployment, role, scope, names):
    deployment.ledger.directory.create_role(INVENTORY, deployment.event())
    case.keystone.own_grants = [{"role": {"id": role}, "scope": scope, "user": {"id": "tatu"}}]
    assert case.provider.out_of_sight() == names


def test_a_domain_that_is_disabled_is_missed_by_nobody(case):
    case.keystone.domain_enabled = False
    assert case.provider.out_of_sight() == ()
