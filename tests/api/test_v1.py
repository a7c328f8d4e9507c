"""The original's wire: what its clients send, and what they can read (specified by its own tip)."""

import base64
import json
import re
import threading
from datetime import timedelta

import pytest

from tatu.api.app import NOAUTH_ROUTES, ROUTES, V1_ROUTES
from tatu.core import statement
from tatu.core.authority import KeyState, Purpose
from tatu.core.certificate import Certificate, CertificateType
from tatu.core.krl import decode
from tatu.ports import Assignment, Project
from tests.api.deployment import deployed
from tests.api.keys import ClientKey
from tests.api.original import DEMO, HEX, INSTANCE, NOVA, OTHER, original, original_template, who
from tests.fakes.threads import together

NOWHERE = "9" * 32
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")
FINGERPRINT = re.compile(r"MD5(:[0-9a-f]{2}){16}")
HEX_TOKEN = re.compile(r"[0-9a-f]{32}")


@pytest.fixture(scope="module")
def made(template, tmp_path_factory):
    return original_template(template, tmp_path_factory.mktemp("made"))


@pytest.fixture
def wire(made, tmp_path):
    with original(made, tmp_path) as wire:
        yield wire


@pytest.fixture(scope="module")
def unchanged(made, tmp_path_factory):
    """For tests of what is refused: they change nothing that others need."""
    with original(made, tmp_path_factory.mktemp("unchanged")) as wire:
        yield wire


def refusal(answer) -> tuple[int, str]:
    """The status of a refusal and what today's command line shows of it."""
    told = answer.json
    assert set(told) <= {"title", "description", "message"}
    assert told["message"] == told.get("description", told["title"])
    assert answer.headers["Content-Type"].startswith("application/json")
    return answer.status_code, told["message"]


def events(wire, action):
    links = wire.ledger.audit.read(after=0, limit=1000)
    return [body for link in links if (body := json.loads(link.body))["action"] == action]


# --- the doors ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "open_doors"),
    [
        ("", set()),
        ("[original_wire]\nenabled = true\n", {"/v1"}),
        ("[original_wire]\nnoauth = true\n", {"/noauth"}),
    ],
)
def test_a_door_is_closed_unless_it_is_configured(template, tmp_path, settings, open_doors):
    with deployed(template, tmp_path, settings=settings) as deployment:
        for path in ("/v1", "/noauth"):
            assert deployment.call("GET", path).status_code == (200 if path in open_doors else 404)
        for path in V1_ROUTES.keys() - {"/"}:
            there = deployment.call("OPTIONS", path.format(**dict.fromkeys(NAMES, "1")))
            assert (there.status_code == 200) == ("/v1" in open_doors), path
        for path in NOAUTH_ROUTES:
            there = deployment.call("OPTIONS", path.format(**dict.fromkeys(NAMES, "1")))
            assert (there.status_code == 200) == ("/noauth" in open_doors), path
        root = deployment.call("GET", "/")
        assert root.status_code == (200 if "/v1" in open_doors else 300)


NAMES = ("auth_id", "which", "fingerprint", "host_id")


def test_the_version_documents_are_for_anyone(unchanged):
    entry = {
        "id": "v1",
        "status": "CURRENT",
        "links": [{"href": "https://tatu.example/v1", "rel": "self"}],
    }
    for path in ("/", "/noauth", "/noauth/"):
        found = unchanged.call("GET", path)
        assert found.status_code == 200
        assert found.json["versions"]["values"][0] == entry
    for path in ("/v1", "/v1/", "/noauth/v1"):
        assert unchanged.call("GET", path).json == {"version": entry}


@pytest.mark.parametrize("path", sorted(V1_ROUTES.keys() - {"/", "/v1"}))
def test_all_of_v1_needs_a_token(unchanged, path):
    for method in V1_ROUTES[path]:
        asked = unchanged.call(method, path.format(**dict.fromkeys(NAMES, "1")), json={})
        assert refusal(asked)[0] == 401


def test_noauth_lets_nobody_list_or_revoke(unchanged):
    for method, path in (
        ("GET", "/noauth/hostcerts"),
        ("POST", f"/noauth/revokeduserkeys/{DEMO}"),
        ("GET", "/noauth/hosts"),
        ("POST", "/noauth/novavendordata"),
        ("GET", "/authorities"),
    ):
        assert unchanged.call(method, path, json={"serial": 1}).status_code == 404, path


def test_the_second_version_is_as_it_was(unchanged):
    assert unchanged.call("GET", f"/v2/authorities/{DEMO}", who("reader")).status_code == 200
    assert unchanged.call("GET", f"/v2/authorities/{DEMO}/", who("reader")).status_code == 404
    assert "/v1/usercerts" not in ROUTES


# --- byte traps ---------------------------------------------------------------------------------


def test_a_colon_is_followed_by_a_blank(wire):
    token = wire.boot().json["token"]
    assert re.search(r'"cert": "[^"]', wire.host_certificate(token).text)
    krl = wire.call("GET", f"/noauth/revokeduserkeys/{DEMO}").text
    assert re.search(r'"revoked_keys_data": "[^"]', krl)


def test_an_answer_ends_with_its_bracket(wire):
    token = wire.boot().json["token"]
    for answer in (
        wire.host_certificate(token),
        wire.host_certificate("0" * 32),
        wire.call("GET", f"/noauth/revokeduserkeys/{DEMO}"),
        wire.certificate(),
    ):
        assert answer.content.endswith(b"}")


def test_a_host_certificate_is_answered_with_200(wire):
    assert wire.host_certificate(wire.boot().json["token"]).status_code == 200


def test_json_is_read_whatever_it_says_of_itself(wire):
    for media in ("application/x-www-form-urlencoded", "text/plain", "application/json; x=y"):
        body = json.dumps({"auth_id": DEMO, "user_id": who("member"), "pub_key": ClientKey().line})
        made = wire.call(
            "POST", "/v1/usercerts", who("member"), body=body, headers={"Content-Type": media}
        )
        assert made.status_code == 201, made.text


def test_no_other_name_ends_as_those_that_the_scripts_look_for(wire):
    made = wire.host_certificate(wire.boot().json["token"]).json
    assert [name for name in made if name.endswith("cert")] == ["cert"]
    krl = wire.call("GET", f"/noauth/revokeduserkeys/{DEMO}").json
    assert [name for name in krl if name.endswith("revoked_keys_data")] == ["revoked_keys_data"]


def test_a_text_stands_last_in_the_vendordata(wire):
    told = wire.boot()
    # Nova reads it, keeps the order, and writes it into a document of its own
    written = json.dumps({"static": {}, "tatu": json.loads(told.text)})
    assert re.search(r'"pam_sudo": ([^,]*)', written)[1] == "false"
    assert re.search(r'"ssh_port": ([^,]*)', written)[1] == "2222"
    assert isinstance(list(told.json.values())[-1], str)


def test_a_certificate_and_a_list_are_one_line(wire):
    made = wire.host_certificate(wire.boot().json["token"]).json["cert"]
    data = wire.call("GET", f"/noauth/revokeduserkeys/{DEMO}").json["revoked_keys_data"]
    for text in (made, data, wire.certificate().json["cert"]):
        assert len(text.splitlines()) == 1
        assert text == text.strip()


def test_what_is_not_ascii_is_not_escaped(wire):
    token = wire.boot().json["token"]
    body = {"token_id": token, "host_id": INSTANCE, "pub_key": f"{ClientKey().line} zoë@vm"}
    made = wire.call("POST", "/noauth/hostcerts", json=body)
    assert " zoë@vm" in made.content.decode()


# --- authorities --------------------------------------------------------------------------------


def test_an_authority_is_made_and_answered_as_an_object(wire):
    fresh = "ab" * 16
    wire.ledger.directory.create_project(Project(id=fresh, name="fresh"), wire.deployment.event())
    made = wire.call("POST", "/v1/authorities", who("admin"), json={"auth_id": fresh})
    assert made.status_code == 201
    assert set(made.json) == {"auth_id", "name", "user_pub_key", "host_pub_key"}
    assert (made.json["auth_id"], made.json["name"]) == (fresh, "fresh")
    assert made.headers["Location"] == f"https://tatu.example/v1/authorities/{fresh}"
    shown = wire.call("GET", f"/v1/authorities/{fresh}", who("admin"))
    assert shown.json == made.json
    again = wire.call("POST", "/v1/authorities", who("admin"), json={"auth_id": fresh})
    assert refusal(again) == (409, "This certificate authority already exists.")


def test_a_project_that_is_disabled_or_absent_gets_no_authority(wire):
    disabled = "ef" * 16
    wire.ledger.directory.create_project(
        Project(id=disabled, name="disabled", enabled=False), wire.deployment.event()
    )
    for project, status in ((disabled, 409), (NOWHERE, 404)):
        made = wire.call("POST", "/v1/authorities", who("admin"), json={"auth_id": project})
        assert refusal(made)[0] == status


def test_an_authority_is_found_by_any_spelling_of_its_id(unchanged):
    dashed = "01234567-89AB-cdef-0123-456789abcdef"
    assert (
        unchanged.call("GET", f"/v1/authorities/{dashed}/", who("reader")).json["auth_id"] == DEMO
    )
    assert unchanged.certificate(auth_id=dashed).json["auth_id"] == DEMO
    assert unchanged.call("GET", f"/noauth/revokeduserkeys/{dashed}").json["auth_id"] == DEMO


def test_lists_show_the_callers_project_and_all_only_to_whom_may_see_them(unchanged):
    def projects(user, **headers):
        listed = unchanged.call("GET", "/v1/authorities?limit=1&x=y", user, headers=headers).json[
            "CAs"
        ]
        return {found["auth_id"] for found in listed}

    everything = {"X-Auth-All-Projects": "True"}
    assert projects(who("admin")) == {DEMO}
    assert projects(who("admin"), **everything) >= {DEMO, OTHER, "blue"}
    assert projects(who("manager"), **everything) == {DEMO}
    assert projects(who("admin"), **{"X-Auth-Sudo-Project-ID": OTHER}) == {OTHER}
    hidden = unchanged.call(
        "GET", "/v1/authorities", who("manager"), headers={"X-Auth-Sudo-Project-ID": OTHER}
    )
    assert hidden.status_code == 404


# --- user certificates --------------------------------------------------------------------------


def test_a_user_certificate_is_issued_without_a_proof_and_marked_so(wire):
    key = ClientKey()
    made = wire.certificate(key=key)
    assert made.status_code == 201, made.text
    told = made.json
    assert set(told) == {
        "user_id",
        "user_name",
        "principals",
        "fingerprint",
        "auth_id",
        "cert",
        "revoked",
        "serial",
        "created_at",
        "expires_at",
    }
    assert told["user_id"] == who("member")
    assert told["principals"] == "member"
    assert FINGERPRINT.fullmatch(told["fingerprint"])
    assert TIME.fullmatch(told["created_at"])
    assert TIME.fullmatch(told["expires_at"])
    assert told["revoked"] is False
    assert told["cert"].endswith(" member@desk")
    contents = Certificate.parse(told["cert"]).contents
    assert (contents.type, contents.subject_key) == (CertificateType.USER, key.public)
    assert contents.valid_before - contents.valid_after <= timedelta(hours=25)
    (issued,) = events(wire, "certificate.issued")
    assert issued["facts"]["wire"] == "v1"
    path = made.headers["Location"].removeprefix("https://tatu.example")
    assert path == f"/v1/usercerts/{who('member')}/{told['fingerprint']}"
    shown = wire.call("GET", path, who("member")).json
    assert shown == {**told, "cert": told["cert"].removesuffix(" member@desk")}
    assert wire.call("GET", f"/v1/usercerts/{told['serial']}", who("member")).json == shown


def test_the_same_key_gets_the_same_certificate_while_it_lives(wire):
    key = ClientKey()
    first = wire.certificate(key=key).json
    wire.deployment.clock.move(hours=1)
    wire.deployment.forget_tokens()
    assert wire.certificate(key=key).json == first


def test_two_who_ask_for_the_same_at_once_get_one_certificate(wire):
    """As one client does who believes that the first request was lost."""
    key, both = ClientKey(), threading.Barrier(2)
    reserve = wire.ledger.certificates.reserve

    def reserve_together(authority):
        both.wait(60)
        return reserve(authority)

    wire.ledger.certificates.reserve = reserve_together
    answers = together(2, lambda _: wire.certificate(key=key))

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json == answers[1].json
    assert len(events(wire, "certificate.issued")) == 1


def test_an_expired_certificate_is_followed_by_a_new_one(wire):
    key = ClientKey()
    first = wire.certificate(key=key).json
    wire.deployment.clock.move(hours=25)
    wire.deployment.forget_tokens()
    assert wire.certificate(key=key).json["serial"] != first["serial"]


def test_a_revoked_certificate_is_followed_by_a_new_one(wire):
    key = ClientKey()
    first = wire.certificate(key=key).json
    revoked = wire.call(
        "POST", f"/v1/revokeduserkeys/{DEMO}", who("member"), json={"serial": first["serial"]}
    )
    assert (revoked.status_code, revoked.json) == (200, {})
    second = wire.certificate(key=key).json
    assert second["serial"] != first["serial"]
    assert second["revoked"] is False


def test_the_same_key_in_another_project_gets_that_projects_certificate(wire):
    key = ClientKey()
    first = wire.certificate(key=key).json
    wire.deployment.add_user(f"{OTHER}-both", OTHER, "member")
    second = wire.certificate("both", OTHER, key=key).json
    assert (first["auth_id"], second["auth_id"]) == (DEMO, OTHER)


def test_a_role_that_was_given_since_is_in_a_new_certificate(wire):
    key = ClientKey()
    first = wire.certificate(key=key).json
    wire.ledger.directory.assign(
        Assignment(project=DEMO, role="r-manager", user=who("member")), wire.deployment.event()
    )
    wire.deployment.clock.move(minutes=1)
    second = wire.certificate(key=key).json
    assert (first["principals"], second["principals"]) == ("member", "manager,member")


def test_what_a_retired_key_signed_is_not_given_again(wire):
    key = ClientKey()
    first = wire.certificate(key=key).json
    authorities, admin = wire.deployment.parts.authorities, wire.deployment.parts.identities
    identity = admin.authenticate(wire.deployment.request(who("admin")))
    added = authorities.add_key(identity, DEMO, Purpose.USER, request_id="")
    (new,) = (k for k in added.keys if k.state is KeyState.NEXT)
    authorities.change_key(
        identity,
        DEMO,
        new.public_key.fingerprint,
        KeyState.ACTIVE,
        at_once=True,
        request_id="",
    )
    second = wire.certificate(key=key).json
    assert second["serial"] != first["serial"]
    assert Certificate.parse(second["cert"]).contents.signature_key == new.public_key


@pytest.mark.parametrize("role", ["member", "admin"])
def test_nobody_gets_a_certificate_for_another_user_or_of_another_project(unchanged, role):
    assert refusal(unchanged.certificate(role, user_id=who("manager"))) == (
        403,
        "user_id is not the user of the token",
    )
    for project in (OTHER, NOWHERE):
        assert refusal(unchanged.certificate(role, auth_id=project)) == (
            403,
            "auth_id is not the project of the token",
        )


def test_who_asks_for_what_is_anothers_is_written_down(wire):
    body = {"host_id": HEX, "auth_id": OTHER, "hostname": "web"}
    wire.certificate("member", user_id=who("manager"))
    wire.certificate("member", auth_id=OTHER)
    wire.call("POST", "/v1/hosttokens", who("manager"), json=body)
    found = wire.call("GET", "/v2/audit-events?after=0&limit=1000", who("manager")).json
    told = [json.loads(item["body"]) for item in found["items"]]
    denied = [event for event in told if event["action"] == "request.denied"]
    assert [(event["actor"]["id"], event["subject"]) for event in denied] == [
        (who("member"), "POST /v1/usercerts"),
        (who("member"), "POST /v1/usercerts"),
        (who("manager"), "POST /v1/hosttokens"),
    ]


def test_a_reader_gets_no_certificate(unchanged):
    assert refusal(unchanged.certificate("reader"))[0] == 403


def test_an_authoritys_key_is_not_certified_here_either(unchanged):
    line = unchanged.call("GET", f"/v1/authorities/{DEMO}", who("reader")).json["user_pub_key"]
    assert refusal(unchanged.certificate(pub_key=line))[0] == 403


def test_a_project_without_authority_is_the_originals_404(wire):
    asked = wire.call(
        "POST",
        "/v1/usercerts",
        NOVA,
        json={"user_id": NOVA, "auth_id": "service", "pub_key": ClientKey().line},
    )
    assert asked.status_code == 403  # no member of it
    wire.deployment.add_user("service-member", "service", "member")
    asked = wire.certificate("member", "service")
    assert refusal(asked) == (404, "No Authority found with that ID")
    assert asked.json["title"] == "404 Not Found"


def test_members_see_their_own_certificates_and_managers_the_projects(wire):
    mine = wire.certificate().json["serial"]
    theirs = wire.certificate("manager").json["serial"]
    foreign = wire.certificate("member", OTHER).json

    def serials(user, **headers):
        listed = wire.call("GET", "/v1/usercerts/", user, headers=headers).json["certs"]
        return [(found["auth_id"], found["serial"]) for found in listed]

    assert serials(who("member")) == [(DEMO, mine)]
    assert sorted(serials(who("manager"))) == sorted([(DEMO, mine), (DEMO, theirs)])
    everything = {"X-Auth-All-Projects": "True"}
    assert (OTHER, foreign["serial"]) in serials(who("admin"), **everything)
    path = f"/v1/usercerts/{theirs}"
    assert wire.call("GET", path, who("member")).status_code == 404
    assert wire.call("GET", path, who("manager")).status_code == 200
    path = f"/v1/usercerts/{who('manager')}/{foreign['fingerprint']}"
    assert wire.call("GET", path, who("member")).status_code == 404
    # serials are a project's: of two that administrators could mean, none is guessed
    path = f"/v1/usercerts/{foreign['serial']}"
    assert wire.call("GET", path, who("admin"), headers=everything).status_code == 409
    one = {"X-Auth-Sudo-Project-ID": OTHER}
    assert wire.call("GET", path, who("admin"), headers=one).json["auth_id"] == OTHER


@pytest.mark.parametrize("serial", ["999", "0", "-1", "x", "9" * 30, "1.5"])
def test_a_serial_of_nothing_is_not_there(unchanged, serial):
    assert unchanged.call("GET", f"/v1/usercerts/{serial}", who("manager")).status_code == 404


def test_foreign_and_absent_read_the_same(wire):
    serial = wire.certificate("member", OTHER).json["serial"]
    wire.boot(project=OTHER)
    for foreign, absent in (
        (f"/v1/authorities/{OTHER}", f"/v1/authorities/{NOWHERE}"),
        (f"/v1/revokeduserkeys/{OTHER}", f"/v1/revokeduserkeys/{NOWHERE}"),
        (f"/v1/hosts/{HEX}", f"/v1/hosts/{NOWHERE}"),
        (f"/v1/usercerts/{serial}", "/v1/usercerts/999"),
    ):
        one, other = (wire.call("GET", path, who("manager")) for path in (foreign, absent))
        assert (one.status_code, one.content) == (other.status_code, other.content)
        assert one.status_code == 404


# --- revocations --------------------------------------------------------------------------------


def revoke(wire, serial, role="member", project=DEMO):
    return wire.call("POST", f"/v1/revokeduserkeys/{project}", who(role), json={"serial": serial})


def test_a_certificate_is_revoked_by_number_or_text_and_is_in_the_list_at_once(wire):
    for written in (int, str):
        serial = wire.certificate().json["serial"]
        done = revoke(wire, written(serial))
        assert (done.status_code, done.json) == (200, {})
        for path in (f"/noauth/revokeduserkeys/{DEMO}", f"/v1/revokeduserkeys/{DEMO}"):
            told = wire.call("GET", path, who("reader")).json
            assert set(told) == {"auth_id", "encoding", "revoked_keys_data"}
            assert (told["auth_id"], told["encoding"]) == (DEMO, "base64")
            listed = decode(base64.b64decode(told["revoked_keys_data"], validate=True))
            assert any(serial in serials for serials in listed.serials.values())
        assert wire.call("GET", f"/v1/usercerts/{serial}", who("member")).json["revoked"] is True


def test_each_revocation_that_cannot_be_is_refused_in_the_originals_words(wire):
    mine = wire.certificate().json["serial"]
    theirs = wire.certificate("manager").json["serial"]
    assert refusal(wire.call("POST", f"/v1/revokeduserkeys/{DEMO}", who("member"), json={})) == (
        400,
        "Cannot identify which Cert to revoke.",
    )
    for serial in (999, "999", "x", -1, "9" * 30, "0" * 19 + "5" + "9" * 100, 10**19, theirs):
        assert refusal(revoke(wire, serial)) == (
            400,
            f"Can't find the certificate for serial # {serial}",
        )
    for project in (OTHER, NOWHERE):
        assert refusal(revoke(wire, mine, project=project)) == (
            400,
            f"Incorrect CA ID for serial # {mine}",
        )
    assert revoke(wire, mine).status_code == 200
    assert refusal(revoke(wire, mine)) == (400, "Certificate was already revoked.")
    assert revoke(wire, theirs, "manager").status_code == 200


def test_an_administrator_revokes_in_any_project(wire):
    serial = wire.certificate("member", OTHER).json["serial"]
    assert revoke(wire, serial, "admin", OTHER).status_code == 200


# --- hosts --------------------------------------------------------------------------------------


def test_vendordata_has_what_the_scripts_look_for(wire):
    told = wire.boot()
    assert told.status_code == 201, told.text
    facts = told.json
    ca = wire.call("GET", f"/v1/authorities/{DEMO}", who("reader")).json
    assert HEX_TOKEN.fullmatch(facts.pop("token"))
    assert facts == {
        "auth_pub_key_user": ca["user_pub_key"],
        "root_principals": "",
        "users": facts["users"],
        "sudoers": "admin",
        "ssh_port": 2222,
        "pam_sudo": False,
        "api_endpoint": "https://tatu.example",
    }
    newest = wire.deployment.parts.statements.newest(DEMO).statement
    assert set(facts["users"].split(",")) == set(statement.decode(newest).accounts)


def test_vendordata_is_the_same_until_the_host_enrolled(wire):
    first = wire.boot()
    assert wire.vendordata().json == first.json
    assert wire.vendordata(HEX).json == first.json
    assert wire.host_certificate(first.json["token"]).status_code == 200
    assert "token" not in wire.vendordata().json


@pytest.mark.parametrize("user", [who("admin"), who("manager"), who("member")])
def test_only_novas_role_is_told_vendordata(unchanged, user):
    unchanged.boot()
    assert refusal(unchanged.vendordata(user=user))[0] == 403


def test_vendordata_of_an_instance_that_the_project_has_not_is_refused_and_written_down(wire):
    wire.boot(project=OTHER)
    assert refusal(wire.vendordata())[0] == 403
    assert events(wire, "vendordata.denied")
    assert refusal(wire.vendordata(project=NOWHERE)) == (404, "No Authority found with that ID")


def test_a_host_is_certified_by_its_names_and_shows_as_legacy(wire):
    key = ClientKey()
    told = wire.boot("web", addresses=["192.0.2.7"]).json
    made = wire.host_certificate(told["token"], key)
    assert made.status_code == 200, made.text
    facts = made.json
    assert set(facts) == {
        "host_id",
        "fingerprint",
        "auth_id",
        "cert",
        "hostname",
        "created_at",
        "expires_at",
    }
    assert (facts["host_id"], facts["auth_id"], facts["hostname"]) == (HEX, DEMO, "web")
    assert facts["cert"].endswith(" root@vm")
    contents = Certificate.parse(facts["cert"]).contents
    assert (contents.type, contents.subject_key) == (CertificateType.HOST, key.public)
    assert contents.principals == (INSTANCE, "web", "192.0.2.7")
    path = made.headers["Location"].removeprefix("https://tatu.example")
    assert path == f"/v1/hostcerts/{HEX}/{facts['fingerprint']}"
    shown = wire.call("GET", path, who("reader")).json
    assert shown == {**facts, "cert": facts["cert"].removesuffix(" root@vm")}
    assert wire.call("GET", "/v1/hostcerts", who("reader")).json == {"certs": [shown]}
    host = {"id": HEX, "name": "web", "pat_bastions": "", "srv_url": ""}
    for spelled in (HEX, INSTANCE, INSTANCE.upper()):
        assert wire.call("GET", f"/v1/hosts/{spelled}", who("reader")).json == host
    assert wire.call("GET", "/v1/hosts", who("reader")).json == {"hosts": [host]}
    v2 = wire.call("GET", f"/v2/authorities/{DEMO}/hosts/{INSTANCE}", who("reader")).json
    assert v2["legacy"] is True
    (enrolled,) = events(wire, "host.enrolled")
    assert enrolled["facts"]["wire"] == "v1"


def test_the_same_key_gets_the_same_body_again_and_a_new_certificate_when_it_has_aged(wire):
    key = ClientKey()
    token = wire.boot().json["token"]
    first = wire.host_certificate(token, key)
    wire.deployment.clock.move(days=1)
    assert wire.host_certificate(token, key, HEX).content == first.content
    wire.deployment.clock.move(days=5)
    renewed = wire.host_certificate(token, key)
    assert renewed.status_code == 200
    assert renewed.json["expires_at"] > first.json["expires_at"]


def test_each_host_that_cannot_enrol_is_refused_in_the_originals_words(wire):
    token = wire.boot().json["token"]
    other = "11111111-2222-4333-8444-555555555555"
    others = wire.boot("db", instance=other).json["token"]
    assert refusal(wire.host_certificate(token, host=NOWHERE)) == (
        404,
        "No Token found with that ID",
    )
    for wrong in (others, "0" * 32, token.upper(), "ß"):
        refused = wire.host_certificate(wrong)
        assert refused.json["title"] == "409 Conflict"
        assert refusal(refused) == (409, "The token is not valid for this instance ID")
    key = ClientKey()
    assert wire.host_certificate(token, key).status_code == 200
    assert refusal(wire.host_certificate(token)) == (
        409,
        "Token already signed a different public key",
    )
    taken = wire.host_certificate(others, key, other)
    assert taken.status_code == 409
    assert taken.json["title"] == "This public key is already signed."
    assert events(wire, "host.refused")
    assert events(wire, "host.enrolment-denied")


def test_a_token_that_was_not_redeemed_in_time_is_worth_nothing(wire):
    token = wire.boot().json["token"]
    wire.deployment.clock.move(minutes=11)
    assert refusal(wire.host_certificate(token)) == (
        409,
        "The token is not valid for this instance ID",
    )


def test_a_host_of_the_other_wire_enrols_by_no_token_of_this_one(wire):
    body = {"host": "db-1"}
    path = f"/v2/authorities/{DEMO}/enrolment-tokens"
    assert wire.call("POST", path, who("manager"), json=body).status_code == 201
    known = wire.ledger.hosts.get(DEMO, "db-1", scope=None)
    token = wire.deployment.parts.admissions.legacy_token(known)
    assert wire.host_certificate(token, host="db-1").status_code == 404


def test_a_manager_admits_a_host_and_gets_the_same_token_again(wire):
    body = {"host_id": HEX, "auth_id": DEMO, "hostname": "web.local"}
    made = wire.call("POST", "/v1/hosttokens", who("manager"), json=body)
    assert (made.status_code, made.content) == (201, b"")
    token = made.headers["Location"].removeprefix("https://tatu.example/v1/hosttokens/")
    assert HEX_TOKEN.fullmatch(token)
    key = ClientKey()
    assert wire.host_certificate(token, key).json["hostname"] == "web"
    again = wire.call("POST", "/v1/hosttokens", who("manager"), json=body | {"hostname": "x"})
    assert again.headers["Location"] == made.headers["Location"]
    assert wire.host_certificate(token, key).status_code == 200
    assert refusal(wire.call("POST", "/v1/hosttokens", who("member"), json=body))[0] == 403
    foreign = wire.call("POST", "/v1/hosttokens", who("manager", OTHER), json=body)
    assert refusal(foreign) == (403, "auth_id is not the project of the token")


def test_a_host_certificate_may_be_asked_for_with_a_keystone_token_too(wire):
    token = wire.boot().json["token"]
    body = {"token_id": token, "host_id": HEX, "pub_key": ClientKey().line}
    foreign = wire.call("POST", "/v1/hostcerts", who("member", OTHER), json=body)
    assert refusal(foreign) == (404, "No Token found with that ID")
    assert wire.call("POST", "/v1/hostcerts", who("member"), json=body).status_code == 200


def test_strangers_are_limited_by_address(made, tmp_path):
    with original(made, tmp_path, enrolment_address=1) as wire:
        found = [wire.host_certificate("0" * 32).status_code for _ in range(3)]
        assert found[0] == 404
        assert 429 in found


def test_a_revocation_list_for_anyone_is_limited_by_address_and_read_from_memory(
    made, tmp_path, monkeypatch
):
    path = f"/noauth/revokeduserkeys/{DEMO}"
    with original(made, tmp_path, revoked_keys_address=3) as wire:
        first = wire.call("GET", path).json
        authorities = type(wire.deployment.ledger.authorities)
        for read in ("list", "get", "snapshot"):
            monkeypatch.delattr(authorities, read)
        assert wire.call("GET", path).json == first
        found = [wire.call("GET", path).status_code for _ in range(5)]
    assert 429 in found


# --- what was sent ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "missing"),
    [
        ("/v1/authorities", {}, "auth_id"),
        ("/v1/usercerts", {"user_id": "x", "pub_key": "x"}, "auth_id"),
        ("/v1/hosttokens", {"host_id": "x", "auth_id": "x"}, "hostname"),
        ("/v1/hostcerts", {"token_id": "x", "host_id": "x"}, "pub_key"),
    ],
)
def test_a_body_that_lacks_something_is_a_400_that_names_it(unchanged, path, body, missing):
    refused = unchanged.call("POST", path, who("manager"), json=body)
    assert refusal(refused) == (400, f"the body has no '{missing}'")
    assert refused.json["title"] == f"'{missing}'"


@pytest.mark.parametrize(
    "body", [b"{", b"null", b"[]", b'"x"', b"\xff", b"[" * 5000, b'{"auth_id": null}']
)
@pytest.mark.parametrize("path", ["/v1/authorities", f"/v1/revokeduserkeys/{DEMO}"])
def test_a_body_that_is_none_is_a_400(wire, path, body):
    if body == b'{"auth_id": null}' and "revoked" in path:
        body = b'{"serial": [1]}'
    refused = wire.call("POST", path, who("manager"), body=body)
    assert refusal(refused)[0] == 400


def test_a_post_without_a_body_is_the_originals_400(unchanged):
    refused = unchanged.call("POST", "/v1/authorities", who("manager"))
    assert refusal(refused) == (400, "The POST/PUT request is missing a body.")


@pytest.mark.parametrize("line", ["", "x", "ssh-rsa AAAA", "ssh-ed25519 !!", "a\nb"])
def test_a_key_that_is_none_is_a_400(unchanged, line):
    assert refusal(unchanged.certificate(pub_key=line))[0] == 400


def test_what_this_wire_does_not_know_is_refused_with_what_it_does(unchanged):
    for method, path, allowed in (
        ("DELETE", "/v1/usercerts", "GET, POST"),
        ("POST", "/v1/hosts", "GET"),
        ("HEAD", "/v1/hosts", "GET"),
    ):
        refused = unchanged.call(method, path, who("admin"))
        assert refused.status_code == 405
        assert set(allowed.split(", ")) < set(refused.headers["Allow"].split(", "))
    options = unchanged.call("OPTIONS", "/v1/usercerts")
    assert options.status_code == 200
    assert {"GET", "POST"} <= set(options.headers["Allow"].split(", "))


def test_there_are_no_gateways(unchanged):
    assert unchanged.call("GET", "/v1/pats/", who("reader")).json == {"pats": []}
