"""What schemathesis is told in Python: JSON lines go out as they are, like plain text."""

from __future__ import annotations

import schemathesis

for media_type in ("application/x-ndjson", "application/jsonl", "application/x-jsonlines"):
    schemathesis.serializer.alias(media_type, "text/plain")
