"""The `slimgpt` command. What a command needs is imported when it runs, so that help is instant."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.eval import evaluate
from cli.export import export
from cli.plan import plan
from cli.prune import prune
from cli.recover import recover
from cli.reports import compare, report
from cli.service import register
from cli.track import track
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


app.command()(prune)
app.command()(recover)
app.command()(plan)
app.command("eval")(evaluate)
app.command()(export)
app.command()(report)
app.command()(compare)
app.command()(track)
register(app)

if __name__ == "__main__":
    app()
