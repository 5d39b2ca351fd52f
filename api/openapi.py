"""The OpenAPI document: problem documents declared for every error."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.auth import is_open
from api.http.problem_kinds import KINDS
from api.http.problems import MEDIA_TYPE
from api.schemas.problems import ProblemView

_REFERENCE = {"$ref": "#/components/schemas/Problem"}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses for a route's `responses`: problem documents of these statuses, and 500."""
    return {status: _response(status) for status in (*statuses, 500)}


def _response(status: int) -> dict[str, Any]:
    kinds = [name for name, kind in KINDS.items() if kind.status == status]
    said = "; ".join(f"{KINDS[name].title} (`{name}`)" for name in kinds)
    return {"description": said, "content": {MEDIA_TYPE: {"schema": _REFERENCE}}}


def install(app: FastAPI, *, with_keys: bool, loopback_only: bool) -> None:
    """Describe the application, with `Problem` in place of FastAPI's own error bodies.

    Args:
        app: the application, whose routes may be added later.
        with_keys: whether it requires API keys.
        loopback_only: whether it accepts requests from its own machine only.
    """

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            document = ProblemView.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(document.pop("$defs", {}))
            schemas["Problem"] = document
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            _replace_default_errors(schema)
            _drop_nulls(schema)
            _declare_everywhere(schema, 431)
            if loopback_only:
                _declare_everywhere(schema, 403)
            if with_keys:
                _require_keys(schema)
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _replace_default_errors(schema: dict[str, Any]) -> None:
    """Replace FastAPI's own 422 responses by problem documents."""
    for path in schema["paths"].values():
        for operation in path.values():
            default = operation["responses"].get("422", {}).get("content", {})
            if "application/json" in default:
                operation["responses"]["422"] = _response(422)


def _drop_nulls(schema: dict[str, Any]) -> None:
    """Remove null from the types of parameters: they can be omitted, but not null."""
    for path in schema["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                stated = parameter["schema"]
                kinds = [kind for kind in stated.get("anyOf", ()) if kind != {"type": "null"}]
                if len(kinds) == 1:
                    del stated["anyOf"]
                    stated.update(kinds[0])


def _require_keys(schema: dict[str, Any]) -> None:
    """Declare that every operation needs a key, except those on public paths."""
    schema["components"]["securitySchemes"] = {
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, created by `slimgpt keys create --owner NAME`.",
        }
    }
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            if is_open(path):
                operation["security"] = []
                continue
            operation["security"] = [{"apiKey": []}]
            for status in (401, 429, 503):  # a key is looked up before anything is done
                operation["responses"].setdefault(str(status), _response(status))


def _declare_everywhere(schema: dict[str, Any], status: int) -> None:
    for operations in schema["paths"].values():
        for operation in operations.values():
            operation["responses"][str(status)] = _response(status)
