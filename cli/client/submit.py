"""`slimgpt submit`: post a job to the service."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client.body import add_recovery, add_tasks, add_timing, merged, override, part_of
from cli.client.http import DEFAULT_URL, ApiKey, Service, Url, connect
from cli.client.upload import upload, upload_questions
from cli.client.watch import follow
from cli.options import recovery, tasks
from cli.options.shared import (
    Begin,
    CalibrationConfig,
    ChannelMultiple,
    Formats,
    GgufPrecision,
    Json,
    LastRatio,
    MaxTokens,
    Memory,
    Parameters,
    Ratios,
    TensorParallel,
    TextField,
    Timing,
    TimingBatches,
    loading,
    targets,
)
from cli.options.specification import NO_TEXT, SHAPES, ratios_of
from cli.terminal.exit_status import fail
from slimgpt.spec.prune import HELD_OUT, NAMED_TEXTS
from slimgpt.spec.sizes import counted
from slimgpt.texts.files.encoding import BadText, read_small

NAMES = ("hf:", "local:", "upload:")


def submit(  # noqa: PLR0913 - one parameter an option
    *,
    model: Annotated[
        str | None, typer.Option(help="local:NAME, org/name or org/name@revision.")
    ] = None,
    ratio: Ratios = None,
    parameters: Parameters = None,
    memory: Memory = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="log, linear, uniform, log-decrease, linear-decrease, global, "
            "or a file with one ratio a layer, as a JSON list or one a line."
        ),
    ] = None,
    first_ratio: Annotated[float | None, typer.Option(help="Ratio of the first layer.")] = None,
    last_ratio: LastRatio = None,
    method: Annotated[
        str | None, typer.Option(help="slimgpt, magnitude, wanda-sp or flap.")
    ] = None,
    head_score: Annotated[
        str | None,
        typer.Option(help="Score by which heads leave: exact, grouped_cholesky or diagonal."),
    ] = None,
    head_unit: Annotated[
        str | None, typer.Option(help="What leaves together: kv_group or query_head.")
    ] = None,
    group_size: Annotated[
        str | None,
        typer.Option(help="Channels removed between two scorings: dynamic or a number."),
    ] = None,
    channel_multiple: ChannelMultiple = None,
    tensor_parallel: TensorParallel = None,
    formats: Formats = None,
    gguf_type: GgufPrecision = None,
    damping: Annotated[
        float | None,
        typer.Option(help="Added to the Hessian's diagonal, as a share of its mean."),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="c4, alpaca, gpt4-alpaca, wikitext2, hf:NAME, local:FILE, upload:ID, or a file "
            "of this machine, which is uploaded first."
        ),
    ] = None,
    calibration_config: CalibrationConfig = None,
    calibration_split: Annotated[str | None, typer.Option(help="Split of an hf: data set.")] = None,
    text_field: TextField = None,
    samples: Annotated[int | None, typer.Option(help="Number of calibration sequences.")] = None,
    seq_len: Annotated[int | None, typer.Option(help="Tokens in a calibration sequence.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the calibration samples.")] = None,
    eval_text: Annotated[
        list[str] | None,
        typer.Option(
            help="Text to evaluate on, as for --calibration, or held-out, or none; several allowed."
        ),
    ] = None,
    eval_seq_len: Annotated[
        list[int] | None, typer.Option(help="Tokens in an evaluation window; several allowed.")
    ] = None,
    max_tokens: MaxTokens = None,
    bos: Begin = None,
    task: tasks.Names = None,
    shots: tasks.Shots = None,
    limit: tasks.Limit = None,
    task_source: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="Questions of the tasks: local:FOLDER of the service, or for one task local:FILE, "
            "upload:ID, or a file of this machine, which is uploaded first.  [default: the hub]",
        ),
    ] = None,
    timing: Timing = False,
    timing_batch: TimingBatches = None,
    recover: Annotated[
        str | None,
        typer.Option(
            help="Train adapters on this text after pruning and merge them; as for --calibration. "
            "[default: no recovery]"
        ),
    ] = None,
    recover_method: recovery.Method = None,
    recover_samples: recovery.Samples = None,
    recover_seq_len: recovery.SequenceLength = None,
    epochs: recovery.Epochs = None,
    learning_rate: recovery.LearningRate = None,
    batch_size: recovery.BatchSize = None,
    lora_rank: recovery.Rank = None,
    publish_recovered: recovery.PublishRecovered = False,
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
    training = {"source": recover} | recovery.fields_of(locals())
    asked = tasks.Asked(task or (), shots, limit, task_source)
    body = _read_spec(spec) if spec else {}
    target = {**targets(ratio), "parameters": parameters, "memory": memory}
    if any(value is not None for value in target.values()):  # it takes the place of the file's
        body = {name: value for name, value in body.items() if name not in target}
    override(body, {"model": model, "method": method, **target})
    override(body, {"head_score": head_score, "head_unit": head_unit, "damping": damping})
    override(body, {"group_size": group_size, "channel_multiple": channel_multiple})
    override(body, loading(formats, gguf_type, tensor_parallel))
    ends = {"first_ratio": first_ratio, "last_ratio": last_ratio}
    override(body, {"schedule": _schedule(schedule, ends, body.get("schedule"))})
    sampling = {"source": calibration, "samples": samples, "sequence_length": seq_len, "seed": seed}
    sampling |= {
        "config": calibration_config,
        "split": calibration_split,
        "text_field": text_field,
        "bos": bos,
    }
    override(body, {"calibration": merged(body.get("calibration"), sampling)})
    windows: dict[str, Any] = {"texts": eval_text, "sequence_lengths": eval_seq_len}
    windows |= {"max_tokens": max_tokens, "bos": bos}
    override(body, {"evaluation": merged(body.get("evaluation"), windows)})
    add_timing(body, timing, timing_batch or [])
    add_tasks(body, asked)
    add_recovery(body, training)
    override(body, {"metadata": merged(body.get("metadata"), _pairs(metadata or []))})
    if not body.get("model"):
        fail("no model is named: give --model, or --spec with a file that says `model`", status=2)
    with connect(url, api_key) as service:
        _upload_files(
            service, body, {"calibration": calibration, "recovery": recover}, eval_text or []
        )
        _upload_questions(service, body, asked)
        job = service.post("/jobs", body, {"Idempotency-Key": str(uuid.uuid4())})
        if as_json:
            typer.echo(json.dumps(job))
        else:
            typer.echo(job["id"])
        if watch:
            follow(service, job["id"], as_json=as_json)


def _upload_files(
    service: Service, body: dict[str, Any], sources: dict[str, str | None], eval_texts: list[str]
) -> None:
    """Upload those of the options' texts that are files of this machine, and name them by id.

    Names go before files: a file called `c4` is given as `./c4`. `none` is no text at all.
    """
    ids = {}
    for text in dict.fromkeys([*filter(None, sources.values()), *eval_texts]):
        path = Path(text).expanduser()
        if text in (*NAMED_TEXTS, HELD_OUT) or text.startswith(NAMES) or not path.is_file():
            continue  # what is no name and no file, the service explains
        parts = [part for part, source in sources.items() if source == text]
        field = body[parts[0]].get("text_field") if parts else None
        made = upload(service, path, text_field=field)
        documents = counted(made["documents"], "document")
        typer.echo(f"{text} is {made['source']}, {documents}", err=True)
        ids[text] = made["source"]
    for part, source in sources.items():
        if source in ids:
            body[part] = {**body[part], "source": ids[source]}
    if eval_texts:
        texts = [ids.get(text, text) for text in eval_texts if text != NO_TEXT]
        body["evaluation"] = {**body["evaluation"], "texts": texts}


def _upload_questions(service: Service, body: dict[str, Any], asked: tasks.Asked) -> None:
    """Upload the file of a task's questions, where it is one of this machine, and name it by id."""
    for source in asked.files:
        path = Path(source).expanduser()
        if source.startswith(NAMES) or not path.is_file():
            continue  # the service explains
        made = upload_questions(service, path)
        typer.echo(f"{source} is {made['source']}, {counted(made['documents'], 'row')}", err=True)
        [task] = body["evaluation"]["tasks"]
        task["source"] = made["source"]


def _read_spec(path: Path) -> dict[str, Any]:
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


def _schedule(
    schedule: str | None, ends: dict[str, float | None], base: Any
) -> dict[str, Any] | None:
    """The schedule's part of the body: a shape with its ends, or the ratios that a file lists.

    Args:
        ends: `first_ratio` and `last_ratio`; one that is given takes the place of the file's.
        base: what the file of `--spec` says of the schedule.
    """
    given = {name: value for name, value in ends.items() if value is not None}
    if schedule is None:
        kept = {name: value for name, value in part_of(base).items() if name not in ends}
        return {"shape": "log"} | kept | given if given else None
    if schedule not in SHAPES and (schedule.endswith(".json") or Path(schedule).is_file()):
        try:
            ratios = ratios_of(Path(schedule))
        except typer.BadParameter as error:
            fail(f"--schedule {error.message}")
        return {"shape": "explicit", "ratios": ratios, **given}
    return {"shape": schedule, **given}


def _pairs(texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            fail(f"--metadata {text!r} is not KEY=VALUE", status=2)
        pairs[key] = value
    return pairs
