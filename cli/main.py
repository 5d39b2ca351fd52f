"""The `slimgpt` command. Commands import their dependencies when they run, so `--help` is fast."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.client.calibration_sets import calibration
from cli.client.download import download
from cli.client.jobs import jobs
from cli.client.lifecycle import cancel, delete, retry
from cli.client.submit import submit
from cli.client.watch import watch
from cli.client.webhooks import webhooks
from cli.engine.eval import evaluate
from cli.engine.export import export
from cli.engine.plan import plan
from cli.engine.prune import prune
from cli.engine.recover import recover
from cli.engine.reports import compare, report
from cli.engine.tracking.track import track
from cli.service.config_check import config
from cli.service.keys import keys
from cli.service.up import up
from migrations.command import app as database
from slimgpt import __version__

app = typer.Typer(
    name="slimgpt",
    help="Prune large language models, layer by layer, here or as a service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"slimgpt {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Prune large language models, layer by layer, here or as a service."""


ENGINE = (prune, recover, plan, evaluate, export, report, compare, track)
SERVICE = (up, submit, jobs, watch, download, cancel, retry, delete)
for command in (*ENGINE, *SERVICE):
    app.command("eval" if command is evaluate else None)(command)
for group in (calibration, webhooks, keys, config, database):
    app.add_typer(group)

if __name__ == "__main__":
    app()
