"""Engine subprocess: `python -m slimgpt run SPEC.json WORKDIR`, `python -m slimgpt plan SPEC.json`.

Writes one JSON event per line to standard output and nothing else; the last line is `result` (exit
status 0) or `failed` (exit status 1). Output of libraries goes to standard error.

`python -m slimgpt wait` imports the libraries, then waits on standard input, a socket, for the
arguments of one `run` (`worker.engine.warm`).

`python -m slimgpt plan SPEC.json` writes only the plan, one `plan` or `failed` event, and
`python -m slimgpt models NAMES.json` the descriptions of `local:` models, one `models` event each:
both read headers and do not import torch. SPEC.json and NAMES.json may be `-`, standard input.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from pydantic import TypeAdapter, ValidationError

from slimgpt.errors import SlimGPTError, SpecError
from slimgpt.events import Event, Failed, StageStarted
from slimgpt.spec.prune import PruneSpec
from slimgpt.texts.files.encoding import BadText, decoded, read_small

T = TypeVar("T")


def main(arguments: list[str] | None = None) -> int:
    """Run the engine; returns the exit status."""
    options = _parser().parse_args(arguments)
    events = _claim_stdout()
    try:
        for event in options.work(options):
            _write(events, event)
    except SlimGPTError as error:
        _write(events, Failed(code=error.code, message=error.message, hint=error.hint))
        return 1
    except Exception as error:  # the supervisor always needs a last event
        traceback.print_exc()
        message = f"{type(error).__name__}: {error}"
        hint = "this is a bug in the engine: report it with the log"
        _write(events, Failed(code="internal-error", message=message, hint=hint))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m slimgpt", description=__doc__)
    commands = parser.add_subparsers(required=True)
    run = commands.add_parser("run", help="run a pruning job")
    run.add_argument("spec", type=Path, help="a PruneSpec as JSON")
    run.add_argument("workdir", type=Path, help="working folder; the result is in checkpoint/")
    run.add_argument("--texts-root", type=Path, default=Path(), help="folder of local:FILE texts")
    run.add_argument("--uploads-root", type=Path, default=None, help="folder of upload:ID texts")
    run.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto")
    run.add_argument("--max-devices", type=int, default=None, help="most devices of a job")
    run.add_argument("--resume", action="store_true", help="continue after the last finished layer")
    run.add_argument("--keep-layers", action="store_true", help="keep finished layers")
    run.add_argument("--began", type=float, default=None, help="Unix time when the job was claimed")
    run.set_defaults(work=_run)
    wait = commands.add_parser("wait", help="import the libraries and wait for one job")
    wait.add_argument("--after", type=float, default=0.0, help="seconds before the imports")
    wait.set_defaults(work=_wait)
    plan = commands.add_parser("plan", help="print the sizes and costs of a pruning job")
    plan.add_argument("spec", type=Path, help="a PruneSpec as JSON; -: standard input")
    plan.set_defaults(work=_plan)
    models = commands.add_parser("models", help="describe models below the models root")
    models.add_argument("names", type=Path, help="a JSON list of local:NAME; -: standard input")
    models.set_defaults(work=_models)
    for command in (run, plan, models):
        command.add_argument(
            "--models-root", type=Path, default=Path(), help="folder of local:NAME models"
        )
    return parser


def _claim_stdout() -> TextIO:
    """Reserve standard output for events; redirect all other output to standard error."""
    sys.stdout.flush()
    events = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return events


def _write(events: TextIO, event: Event) -> None:
    events.write(event.line() + "\n")
    events.flush()


def _run(options: argparse.Namespace) -> Iterator[Event]:
    began = time.time() if options.began is None else options.began
    spec = _spec(options.spec)
    if options.max_devices is not None and spec.devices > options.max_devices:
        raise SpecError(
            f"devices: {spec.devices} were asked for, this worker gives {options.max_devices} to a "
            "job",
            hint="ask for fewer, or raise SLIMGPT_MAX_DEVICES",
        )
    yield StageStarted(stage="start")
    from slimgpt.machine import launch
    from slimgpt.texts.tokenization import sandbox

    sandbox.start()  # it imports its libraries meanwhile
    yield from launch.imports()
    from slimgpt.pipeline import run
    from slimgpt.sources.roots import Roots

    roots = Roots(options.models_root, options.texts_root, uploads=options.uploads_root)
    flags = {"resume": options.resume, "keep_layers": options.keep_layers}
    started = launch.Launch(began)
    yield from run(spec, options.workdir, roots, options.device, launch=started, **flags)


def _wait(options: argparse.Namespace) -> Iterator[Event]:
    from slimgpt.machine import launch

    arguments = launch.awaited(options.after, _prepare)
    if arguments is not None:
        given = _parser().parse_args(arguments)
        yield from given.work(given)


def _prepare() -> None:
    """Import what a job needs, and have its tokenizer's process do so."""
    from slimgpt.machine import launch
    from slimgpt.texts.tokenization import sandbox

    sandbox.start()
    for _ in launch.imports():
        pass
    importlib.import_module(launch.MODELS)
    importlib.import_module("slimgpt.pipeline")


def _plan(options: argparse.Namespace) -> Iterator[Event]:
    spec = _spec(options.spec)
    from slimgpt.planning.preview import plan_preview
    from slimgpt.sources.roots import Roots

    yield plan_preview(spec, Roots(models=options.models_root, texts=options.models_root))


def _models(options: argparse.Namespace) -> Iterator[Event]:
    names = _parsed(options.names, TypeAdapter(list[str]).validate_json)
    from slimgpt.planning.found_models import describe
    from slimgpt.sources.roots import Roots

    yield from describe(names, Roots(models=options.models_root, texts=options.models_root))


def _spec(path: Path) -> PruneSpec:
    return _parsed(path, PruneSpec.model_validate_json)


def _parsed(path: Path, parse: Callable[[str], T]) -> T:
    try:
        return parse(decoded(sys.stdin.buffer.read()) if str(path) == "-" else read_small(path))
    except OSError as error:
        raise SpecError(
            f"{path}: {error.strerror}", hint="check the path and permissions"
        ) from error
    except BadText as error:
        raise SpecError(f"{path.name}: {error}", hint="write JSON in UTF-8") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise SpecError(f"{path.name}: {where}: {first['msg']}", hint="see PruneSpec") from error


if __name__ == "__main__":
    sys.exit(main())
