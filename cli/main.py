"""The `slimgpt` command. A command is imported when it is asked for, so that help is instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.options.groups import Commands
from slimgpt import __version__

# Where each command is, and the first line of its help, which a test compares with its own.
COMMANDS = {
    "prune": ("cli.engine.prune", "Prune MODEL and write a smaller checkpoint to OUT."),
    "recover": ("cli.engine.recover", "Train MODEL again, adapters or layers, and write OUT."),
    "plan": ("cli.engine.plan", "Show what pruning would leave of each layer, and its cost."),
    "eval": ("cli.engine.eval:evaluate", "Measure a model's perplexity and its scores on tasks."),
    "export": ("cli.engine.export", "Write MODEL in other formats and prove each by its loader."),
    "report": ("cli.engine.reports", "Show the report of a pruned model; --html writes a page."),
    "compare": ("cli.engine.reports", "Show reports side by side, the least pruned first."),
    "track": ("cli.engine.tracking.track", "Log a report to MLflow as a run."),
    "up": ("cli.service.up", "Run the whole service on this machine until Ctrl-C."),
    "submit": ("cli.client.submit", "Post a pruning job and print its id."),
    "jobs": ("cli.client.jobs", "List the jobs, newest first."),
    "watch": ("cli.client.watch", "Follow a job until it ends."),
    "download": ("cli.client.download", "Download all files of a job and check their sha256."),
    "cancel": ("cli.client.lifecycle", "Cancel a queued or running job."),
    "retry": ("cli.client.lifecycle", "Queue a failed or cancelled job again, with new attempts."),
    "delete": ("cli.client.lifecycle", "Delete finished jobs with their reports and files."),
    "calibration": ("cli.client.calibration_sets", "Manage uploaded calibration texts."),
    "webhooks": ("cli.client.webhooks", "Have addresses notified when jobs end."),
    "keys": ("cli.service.keys", "Create, list and revoke API keys in the service's database."),
    "config": ("cli.service.config_check", "Check the service's settings."),
    "database": ("migrations.command:app", "Show and change the schema version of the database."),
}


class LazyCommands(Mapping[str, Any]):
    """The commands by name; a command is imported on access."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name][0].partition(":")
        found = getattr(import_module(module), attribute or name)
        if not isinstance(found, typer.Typer):
            single = Commands()
            single.command(name)(found)
            found = single
        command = typer.main.get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(TyperGroup):
    """All commands, listed without importing them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()  # type: ignore[assignment]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands for `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, first) for name, (_, first) in COMMANDS.items()])


app = Commands(
    "slimgpt",
    cls=LazyGroup,
    help="Prune large language models, layer by layer, here or as a service.",
    pretty_exceptions_enable=False,
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


if __name__ == "__main__":
    app()
