"""`slimgpt submit`: post a job to the service."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import DEFAULT_URL, ApiKey, Json, Url, connect, fail
from cli.options import Memory, Parameters
from cli.watch import follow


def submit(  # noqa: PLR0913 - one parameter an option
    *,
    model: Annotated[
        str | None, typer.Option(help="local:NAME, org/name or org/name@revision.")
    ] = None,
    ratio: Annotated[
        float | None, typer.Option(help="Share of all parameters to remove, 0 ≤ ratio < 1.")
    ] = None,
    parameters: Parameters = None,
    memory: Memory = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="log, linear, uniform, log-decrease, linear-decrease, global, "
            "or a JSON file with one ratio a layer."
        ),
    ] = None,
    first_ratio: Annotated[float | None, typer.Option(help="Ratio of the first layer.")] = None,
    method: Annotated[
        str | None, typer.Option(help="slimgpt, magnitude, wanda-sp or flap.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="c4, alpaca, gpt4-alpaca, wikitext2, hf:NAME or local:FILE."),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Number of calibration sequences.")] = None,
    seq_len: Annotated[int | None, typer.Option(help="Tokens in a calibration sequence.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the calibration samples.")] = None,
    eval_text: Annotated[
        list[str] | None, typer.Option(help="Text to evaluate on; may be given several times.")
    ] = None,
    eval_seq_len: Annotated[
        list[int] | None, typer.Option(help="Tokens in an evaluation window; several allowed.")
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE kept with the job; several allowed.")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option(help="JSON file of a job; the other options override it.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the job until it ends.")] = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Post a pruning job and print its id."""
    body = _read_spec(spec) if spec else {}
    target = {"ratio": ratio, "parameters": parameters, "memory": memory}
    if any(value is not None for value in target.values()):  # it takes the place of the file's
        body = {name: value for name, value in body.items() if name not in target}
    _override(body, {"model": model, "method": method, **target})
    _override(body, {"schedule": _schedule(schedule, first_ratio, body.get("schedule"))})
    sampling = {"source": calibration, "samples": samples, "sequence_length": seq_len, "seed": seed}
    _override(body, {"calibration": _merged(body.get("calibration"), sampling)})
    windows = {"texts": eval_text, "sequence_lengths": eval_seq_len}
    _override(body, {"evaluation": _merged(body.get("evaluation"), windows)})
    _override(body, {"metadata": _merged(body.get("metadata"), _pairs(metadata or []))})
    with connect(url, api_key) as service:
        job = service.post("/jobs", body, {"Idempotency-Key": str(uuid.uuid4())})
        if as_json:
            typer.echo(json.dumps(job))
        else:
            typer.echo(job["id"])
        if watch:
            follow(service, job["id"], as_json=as_json)


def _read_spec(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        fail(f"{path} cannot be read: {error.strerror}")
    except ValueError as error:
        fail(f"{path} is not JSON: {error}")
    if not isinstance(body, dict):
        fail(f"{path} does not hold a JSON object")
    return dict(body)


def _schedule(schedule: str | None, first_ratio: float | None, base: Any) -> dict[str, Any] | None:
    """The schedule's part of the body: a shape, or the ratios that a file lists."""
    if schedule is None:
        started = None if first_ratio is None else {"shape": "log"} | _object(base)
        return None if started is None else started | {"first_ratio": first_ratio}
    if schedule.endswith(".json"):
        try:
            ratios = json.loads(Path(schedule).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            fail(f"schedule {schedule} cannot be read: {error}")
        return {"shape": "explicit", "ratios": ratios}
    ends = {} if first_ratio is None else {"first_ratio": first_ratio}
    return {"shape": schedule, **ends}


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            fail(f"--metadata {text!r} is not KEY=VALUE", status=2)
        pairs[key] = value
    return pairs


def _merged(base: Any, changes: dict[str, Any]) -> dict[str, Any] | None:
    """`base` with the changes that were given; None when there is nothing to say."""
    given = {name: value for name, value in changes.items() if value not in (None, [])}
    return {**_object(base), **given} if given else None


def _object(base: Any) -> dict[str, Any]:
    """What the file of `--spec` says in this place; nothing of it may vanish unsaid."""
    if not (base is None or isinstance(base, dict)):
        fail(f"{base!r} in the file of --spec is not a JSON object: it can't be overridden in part")
    return dict(base or {})


def _override(body: dict[str, Any], changes: dict[str, Any]) -> None:
    body.update({name: value for name, value in changes.items() if value not in (None, [])})
