"""`slimgpt export`: converts an existing checkpoint to other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from cli.options.job import GgufPrecision
from cli.options.shared import Device, Json, Out
from cli.options.specification import device_name
from cli.terminal.event_output import event_output
from cli.terminal.exit_status import report_failure
from slimgpt.events import Verified
from slimgpt.spec.sizes import short_size


def export(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="Folder of a checkpoint, pruned or dense.")
    ],
    out: Out,
    *,
    formats: Annotated[
        list[str],
        typer.Option("--format", help="uniform, padded or gguf; may be given several times."),
    ],
    gguf_type: GgufPrecision = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Write MODEL in other formats and prove each by its loader.

    One format is written to OUT itself, several to folders of their names in OUT.

    \b
    Example:
      slimgpt export smaller formats --format gguf
    """
    console = Console()
    with event_output(console, as_json=as_json) as output, report_failure(output):
        from slimgpt.stages.export import export as write

        proofs = []
        for event in write(model, out, formats, gguf_type, device_name(device)):
            if as_json:
                output.show(event)
            elif isinstance(event, Verified):
                proofs.append(event)
        if not as_json:
            _print(console, out, proofs)


def _print(console: Console, out: Path, proofs: list[Verified]) -> None:
    for proof in proofs:
        line = (
            f"{proof.format}: {short_size(proof.bytes or 0)}, {proof.loader}: "
            f"largest difference {proof.max_difference:g} (at most {proof.bound:g})"
        )
        console.print(Text(line), soft_wrap=True)
    console.print(Text(f"written to {out}"), soft_wrap=True)
