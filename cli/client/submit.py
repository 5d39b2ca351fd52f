"""`slimgpt submit`: post a job to the service."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.http import Connection, Service
from cli.client.upload import upload, upload_questions
from cli.client.watch import follow
from cli.options.evaluation import OF_SERVICE
from cli.options.groups import Fields
from cli.options.job import Job
from cli.options.shared import Json, Watch
from cli.options.specification import is_named
from cli.terminal.exit_status import fail
from slimgpt.spec.sizes import counted
from slimgpt.texts.files.encoding import BadText, read_small


def submit(
    *,
    model: Annotated[
        str | None, typer.Option(help="local:NAME, org/name or org/name@revision.")
    ] = None,
    job: Job,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE kept with the job; may be given several times."),
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(help="JSON file of a job; the other options override it.")
    ] = None,
    watch: Watch = False,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Post a pruning job and print its id.

    Texts are named as for `slimgpt prune`, or as local:FILE or upload:ID of the service; a file of
    this machine is uploaded first. A folder of tasks' questions is local:FOLDER of the service.
    """
    file = _read_spec(spec) if spec else {}
    named = {"model": model} if model else {}
    more = named | ({"metadata": _pairs(metadata)} if metadata else {})
    body = merged(file, job.fields(base=file) | more)
    if not body.get("model"):
        fail("no model is given: use --model, or --spec with a file that has `model`", status=2)
    with connection.open() as service:
        names = _uploaded(service, job, body)
        body = merged(file, job.fields(names, file) | more)
        made = service.post("/jobs", body, {"Idempotency-Key": str(uuid.uuid4())})
        typer.echo(json.dumps(made) if as_json else made["id"])
        if watch:
            follow(service, made["id"], as_json=as_json)


def merged(base: Any, changes: Fields) -> Fields:
    """The fields of a file with changes applied; None removes a field."""
    if not (base is None or isinstance(base, dict)):
        fail(f"{base!r} in the file of --spec is not a JSON object: options cannot override parts")
    body = dict(base or {})
    for name, change in changes.items():
        if change is None:
            body.pop(name, None)
        else:
            body[name] = merged(body.get(name), change) if isinstance(change, dict) else change
    return body


def _uploaded(service: Service, job: Job, body: Fields) -> dict[str, str]:
    """Upload the texts that are files of this machine; returns their names at the service."""
    for folder in job.evaluation.tasks.folders:
        if not folder.startswith(OF_SERVICE):
            fail(
                f"--task-source {folder} is a folder of this machine, which the service cannot "
                "read: use local:FOLDER below its texts root, or the file of one task"
            )
    parts = {job.recovery.source: "recovery", job.calibration.source: "calibration"}
    names = {}
    for text in dict.fromkeys([*job.texts, *job.evaluation.tasks.files]):
        path = Path(text).expanduser()
        if is_named(text) or text.startswith(OF_SERVICE) or not path.is_file():
            continue  # the service reports what is neither a name nor a file
        if text in job.texts:
            field = body[parts[text]].get("text_field") if text in parts else None
            made, unit = upload(service, path, text_field=field), "document"
        else:
            made, unit = upload_questions(service, path), "row"
        names[text] = made["source"]
        count = counted(made["documents"], unit)
        typer.echo(f"{text} is uploaded as {made['source']}: {count}", err=True)
    return names


def _read_spec(path: Path) -> Fields:
    try:
        body = json.loads(read_small(path))
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    except BadText as error:
        fail(f"{path}: {error}")
    except (ValueError, RecursionError) as error:
        fail(f"{path} is not JSON: {error}")
    if not isinstance(body, dict):
        fail(f"{path} does not hold a JSON object")
    return dict(body)


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            fail(f"--metadata {text!r} is not KEY=VALUE", status=2)
        pairs[key] = value
    return pairs
