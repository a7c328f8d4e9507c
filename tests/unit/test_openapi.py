import json

import msgspec
import pytest

from tatu.api import app, openapi, schemas
from tatu.api.problems import PROBLEMS
from tatu.core import errors, host

DOCUMENT = json.loads(openapi.document(app.ROUTES, "https://tatu.example"))
OPERATIONS = [
    (method, path, operation)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_is_described():
    served = {
        (method.lower(), path.replace(":path}", "}"))
        for path, operations in app.ROUTES.items()
        for method in operations
    }
    assert {(method, path) for method, path, _ in OPERATIONS} == served


def test_every_reference_leads_somewhere():
    known = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) <= known


def test_every_operation_has_a_name_of_its_own_and_says_what_it_does():
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(operation["summary"].endswith(".") for _, _, operation in OPERATIONS)


def test_whatever_is_not_for_all_asks_for_a_token():
    for method, path, operation in OPERATIONS:
        route = next(p for p in app.ROUTES if p.replace(":path}", "}") == path)
        public = app.ROUTES[route][method.upper()].public
        assert ("security" not in operation) == public
        assert public or "401" in operation["responses"]


def test_path_parameters_are_those_of_the_path():
    for _, path, operation in OPERATIONS:
        found = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert all(f"{{{name}}}" in path for name in found)
        assert path.count("{") == len(found)


def test_every_error_has_a_problem():
    def below(kind):
        for child in kind.__subclasses__():
            yield child.slug
            yield from below(child)

    assert set(below(errors.TatuError)) <= set(PROBLEMS)


@pytest.mark.parametrize(
    "text", ["a\n", "a\x00", "\x7f", "", " a", "a ", "a\u0085b", "\ufeff" * 129, "\t"]
)
def test_a_name_has_no_controls_and_no_blanks_at_its_ends(text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, schemas.Name)


@pytest.mark.parametrize("text", ["alice", "Alice Liddell", "é", "漢字", "a" * 128, "-"])
def test_a_name_is_what_people_are_called(text):
    assert msgspec.convert(text, schemas.Name) == text


@pytest.mark.parametrize("kind", [schemas.Id, schemas.HostId, schemas.Fingerprint])
@pytest.mark.parametrize("text", ["", "a\n", "a/b", "a b", "\u0661", "a" * 65, "..", "-a"])
def test_an_id_is_plain(kind, text):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(text, kind)


@pytest.mark.parametrize(
    "text", ["db", "db-1", "1a", "a-", "a" * 63, "DB", "Db-1", "1", "12345", "a.b", "a" * 64]
)
def test_a_host_id_on_the_wire_is_one_of_the_core(text):
    def accepts(parse, error):
        try:
            return parse() == text
        except error:
            return False

    assert accepts(lambda: host.host_id(text), errors.Malformed) == accepts(
        lambda: msgspec.convert(text, schemas.HostId), msgspec.ValidationError
    )


def test_all_that_comes_in_refuses_what_it_does_not_know():
    def below(kind):
        for child in kind.__subclasses__():
            yield child
            yield from below(child)

    for kind in [*below(schemas.Body), *below(schemas.Query)]:
        assert kind.__struct_config__.forbid_unknown_fields
