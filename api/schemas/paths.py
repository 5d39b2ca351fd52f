"""`VERSION`: what the API's paths begin with. The paths without it are aliases, not documented."""

from __future__ import annotations

VERSION = "/v1"
