"""`slimgpt submit`: post a job to the service."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.client.connection import Connection
from cli.client.watch import follow
from cli.options.evaluation import OF_SERVICE
from cli.options.groups import Fields, option
from cli.options.job import Job
from cli.options.model_names import service_name
from cli.options.shared import Json, Watch
from cli.options.specification import is_named
from cli.terminal.exit_status import expected, fail
from slimgpt.spec.sizes import counted
from slimgpt.texts.files.encoding import BadText, read_small

if TYPE_CHECKING:
    from slimgpt.client import Client


@dataclass(frozen=True, kw_only=True)
class ModelAndSpec:
    """The model, and a file that says what else the options do not."""

    place: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="As for slimgpt prune: local:NAME below the service's models folder, a folder "
            "that it can read, or org/name[@revision] of the hub.",
        ),
    ] = None
    model: Annotated[str | None, option("--model", "The same as MODEL.")] = None
    spec: Annotated[
        Path | None, option("--spec", "JSON file of a job; the other options override it.")
    ] = None

    def named(self, file: Fields, url: str) -> Fields:
        """The model's name at the service, if it is given beside the file."""
        if self.place and self.model:
            fail("MODEL and --model name the same: give one of them", status=2)
        given = self.place or self.model
        if not (given or file.get("model")):
            fail("no model is given: name it as MODEL, or in the file of --spec", status=2)
        with expected():
            return {"model": service_name(given, url)} if given else {}


def submit(
    source: ModelAndSpec,
    *,
    job: Job,
    metadata: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE kept with the job; may be given several times."),
    ] = None,
    watch: Watch = False,
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Post a pruning job and print its id.

    Texts are named as for `slimgpt prune`, or as local:FILE or upload:ID of the service; a file of
    this machine is uploaded first. A folder of tasks' questions is local:FOLDER of the service.

    \b
    Example:
      slimgpt submit local:model --ratio 0.3 --calibration \\
          local:calibration.jsonl --samples 64 --seq-len 256 --watch
    """
    file = _read_spec(source.spec) if source.spec else {}
    more: Fields = {"metadata": _pairs(metadata)} if metadata else {}
    with connection.open() as client:
        more |= source.named(file, client.url)
        body = merged(file, job.fields(base=file) | more)
        names = _uploaded(client, job, body)
        made = client.jobs.create(merged(file, job.fields(names, file) | more))
        typer.echo(json.dumps(made.raw) if as_json else made.id)
        if watch:
            follow(client, made.id, as_json=as_json)


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


def _uploaded(client: Client, job: Job, body: Fields) -> dict[str, str]:
    """Upload the texts that are files of this machine; returns their names at the service."""
    for folder in job.evaluation.tasks.folders:
        if not folder.startswith(OF_SERVICE):
            fail(
                f"--task-source {folder} is a folder of this machine, which the service cannot "
                "read: use local:FOLDER below its texts root, or the file of one task"
            )
    from slimgpt.client.uploads import first_text_field

    parts = {job.recovery.source: "recovery", job.calibration.source: "calibration"}
    names = {}
    for text in dict.fromkeys([*job.texts, *job.evaluation.tasks.files]):
        path = Path(text).expanduser()
        if is_named(text) or text.startswith(OF_SERVICE) or not path.is_file():
            continue  # the service reports what is neither a name nor a file
        if text in job.texts:
            field = body[parts[text]].get("text_field") if text in parts else None
            unit = "document"
        else:
            field, unit = first_text_field(path), "row"
        made = client.calibration_sets.upload(path, text_field=field)
        names[text] = made.source
        typer.echo(
            f"{text} is uploaded as {made.source}: {counted(made.documents, unit)}", err=True
        )
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
