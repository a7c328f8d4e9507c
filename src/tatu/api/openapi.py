"""OpenAPI 3.1, generated from the routes and from the structures that read and write them."""

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, get_type_hints

import msgspec

from tatu.api.operation import NoQuery, Operation
from tatu.api.problems import PROBLEMS, Problem

Routes = Mapping[str, Mapping[str, Operation]]

_REFERENCE = "#/components/schemas/{name}"


def document(routes: Routes, url: str) -> bytes:
    """Describe the routes, as they are served at a URL."""
    found = [operation for operations in routes.values() for operation in operations.values()]
    structs = {
        kind
        for operation in found
        for kind in (operation.body, operation.answer)
        if kind is not None and kind is not bytes
    }
    ordered = sorted(structs, key=lambda kind: kind.__name__)
    _, schemas = msgspec.json.schema_components([*ordered, Problem], ref_template=_REFERENCE)
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Tatu",
                "version": version("tatu"),
                "description": "Short-lived SSH certificates that end when the permission ends",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "servers": [{"url": url}],
            "paths": {
                path.replace(":path}", "}"): {
                    method.lower(): _operation(operation)
                    for method, operation in operations.items()
                }
                for path, operations in routes.items()
            },
            "components": {
                "schemas": schemas,
                "securitySchemes": {
                    "bearer": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A token of this API, where it gives them itself",
                    },
                    "keystone": {
                        "type": "apiKey",
                        "in": "header",
                        "name": "X-Auth-Token",
                        "description": "A token of the Keystone that GET /v2 names",
                    },
                    "host": {
                        "type": "apiKey",
                        "in": "header",
                        "name": "Tatu-Signature",
                        "description": "A host key's signature, with Tatu-Host, Tatu-Time and"
                        " Tatu-Nonce",
                    },
                },
            },
        }
    )


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": list(_parameters(operation)),
        "responses": dict(_responses(operation)),
    }
    if operation.rule is not None:
        described["description"] = f"Allowed by the policy rule `{operation.rule}`."
    if operation.body is not None:
        schema = {"$ref": _REFERENCE.format(name=operation.body.__name__)}
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    if operation.by_host:
        described["security"] = [{"host": []}]
    elif not operation.public:
        described["security"] = [{"bearer": []}, {"keystone": []}]
    return described


def _parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name, kind in operation.path.items():
        yield {"name": name, "in": "path", "required": True, "schema": msgspec.json.schema(kind)}
    if operation.query is not NoQuery:
        for name, kind in get_type_hints(operation.query, include_extras=True).items():
            yield {"name": name, "in": "query", "schema": _not_null(msgspec.json.schema(kind))}
    if operation.kept:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
        }


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Leave out that a parameter may be null: one that says nothing is left out of the query."""
    if "anyOf" in schema:
        (schema,) = (one for one in schema["anyOf"] if one != {"type": "null"})
    return schema


def _responses(operation: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    done: dict[str, Any] = {"description": "Done"}
    if operation.answer is bytes:
        done["content"] = {operation.media.partition(";")[0]: {}}
    elif operation.answer is not None:
        schema = {"$ref": _REFERENCE.format(name=operation.answer.__name__)}
        done["content"] = {"application/json": {"schema": schema}}
    yield str(operation.status), done
    if operation.answer is bytes:
        yield "304", {"description": "The caller has it already"}
    for slug in _slugs(operation):
        status, title = PROBLEMS[slug]
        schema = {"$ref": _REFERENCE.format(name="Problem")}
        yield (
            str(status),
            {"description": title, "content": {"application/problem+json": {"schema": schema}}},
        )


def _slugs(operation: Operation) -> Iterator[str]:
    """Tell what an operation may refuse; nothing is refused that is not told here."""
    yield from ("malformed", "internal", "unavailable")
    if not operation.public or operation.body is not None:  # a body may be what proves
        yield from ("unauthenticated", "denied")
    if operation.path or operation.query is not NoQuery or operation.body is not None:
        yield from ("not-found", "conflict")
    if operation.body is not None:
        yield from ("length-required", "too-large", "unsupported-media-type", "too-many")
    if operation.kept:
        yield "gone"
