"""The `Allow` header of a 405 response (RFC 9110, section 15.5.6)."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def allowed(routes: Iterable[BaseRoute], scope: Scope) -> list[str]:
    """The methods that the routes take at the address of a request.

    A route refuses with its own methods alone, though another one may take more at the same
    address.
    """
    there = {"type": "http", "path": scope["path"], "root_path": scope.get("root_path", "")}
    asked = [{**there, "headers": scope["headers"], "method": method} for method in METHODS]
    known = list(routes)
    return [
        one["method"]
        for one in asked
        if any(route.matches(one)[0] is Match.FULL for route in known)
    ]
