"""The JSON schema of `report.json`; `python -m slimgpt.report.json_schema` prints it.

Version 1 had neither `verdict` nor `recovery`. Fields are added within a version; a field that
changes its meaning or goes makes a new one.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from slimgpt import events
from slimgpt.report.schema import SCHEMA_VERSION, Report, SweepReport

ITEMS: dict[str, type[BaseModel]] = {
    "inference": events.Latency,
    "layers": events.LayerFinished,
    "perplexity": events.Perplexity,
    "tasks": events.TaskScore,
    "verified": events.Verified,
}
"""Lists of the report whose items are events: the report keeps them as they were said."""


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    models: list[type[BaseModel]] = [Report, SweepReport, *ITEMS.values()]
    made = models_json_schema([(one, "serialization") for one in models])[1]
    definitions = made["$defs"]
    report = definitions["Report"]
    report["description"] = "What a job did and measured; readers pass over unknown fields."
    for name, model in ITEMS.items():
        report["properties"][name]["items"] = {"$ref": f"#/$defs/{model.__name__}"}
    definitions["SweepPoint"]["properties"]["report"] = {"$ref": "#/$defs/Report"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "oneOf": [{"$ref": "#/$defs/Report"}, {"$ref": "#/$defs/SweepReport"}],
        "title": f"SlimGPT Service report, version {SCHEMA_VERSION}",
        "$defs": definitions,
    }


def text() -> str:
    """The schema as its file holds it."""
    return json.dumps(schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
