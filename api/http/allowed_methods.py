"""The `Allow` header of a 405 response (RFC 9110, section 15.5.6)."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def allowed(routes: Iterable[BaseRoute], scope: Scope) -> list[str]:
    """The methods that all routes together support at the path of a request.

    Starlette's 405 lists only the methods of the first route with that path.
    """
    there = {"type": "http", "path": scope["path"], "root_path": scope.get("root_path", "")}
    asked = [{**there, "headers": scope["headers"], "method": method} for method in METHODS]
    known = list(routes)
    return [
        one["method"]
        for one in asked
        if any(route.matches(one)[0] is Match.FULL for route in known)
    ]
