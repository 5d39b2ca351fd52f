"""The page of the engine's events, from `slimgpt.events`."""

from __future__ import annotations

import inspect

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from manual.reference import schemas
from slimgpt import events

HEAD = """# Events

The engine writes its progress as one JSON object a line; `slimgpt prune --json` prints them, and
`GET /v1/jobs/{id}/events` sends them as server-sent events, with the job's `status` and `end`
between them ([the stream](../service.md#following-a-job)). Readers ignore types and fields that
they do not know: both may be added.

"""
BASES = (events.Event, events.PointEvent)


def page() -> str:
    """The page, in Markdown."""
    classes = [
        value
        for value in vars(events).values()
        if inspect.isclass(value) and issubclass(value, BaseModel)
        if value.__module__ == events.__name__ and value not in BASES
    ]
    _, document = models_json_schema([(found, "serialization") for found in classes])
    described = document["$defs"]
    told = [found for found in classes if "type" in found.model_fields]
    text = HEAD
    for found in told:
        name, type_name = found.__name__, found.model_fields["type"].default
        text += f"## `{type_name}` {{ #{schemas.anchor(name)} }}\n\n"
        text += schemas.section(described.pop(name)) + "\n"
    return text + "## Parts of events\n\n" + schemas.sections(described)
