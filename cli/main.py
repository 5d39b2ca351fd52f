"""The `slimgpt` command. A command is imported when it is asked for, so that help is instant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any

import typer

from cli.options.groups import Commands
from cli.terminal.command_group import CommandGroup, Sections
from slimgpt import __version__

# Where each command is, and the first line of its help, which a test compares with its own.
SECTIONS: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "Prune on this machine": (
        "slimgpt prune examples/model smaller --ratio 0.3 --calibration notes.txt",
        {
            "prune": ("cli.engine.prune", "Prune MODEL and write a smaller checkpoint to OUT."),
            "recover": (
                "cli.engine.recover",
                "Train MODEL again, adapters or layers, and write OUT.",
            ),
            "plan": (
                "cli.engine.plan",
                "Show what pruning would leave of each layer, and its cost.",
            ),
            "eval": (
                "cli.engine.eval:evaluate",
                "Measure a model's perplexity and its scores on tasks.",
            ),
            "export": (
                "cli.engine.export",
                "Write MODEL in other formats and prove each by its loader.",
            ),
        },
    ),
    "Read results": (
        "slimgpt compare smaller smallest --html comparison.html",
        {
            "report": (
                "cli.engine.reports",
                "Show the report of a pruned model; --html writes a page.",
            ),
            "compare": ("cli.engine.reports", "Show reports side by side, the least pruned first."),
            "track": ("cli.engine.tracking.track", "Log a report to MLflow as a run."),
        },
    ),
    "Use a service": (
        "slimgpt submit local:model --ratio 0.3 --watch",
        {
            "submit": ("cli.client.submit", "Post a pruning job and print its id."),
            "jobs": ("cli.client.jobs", "List the jobs, newest first."),
            "watch": ("cli.client.watch", "Follow a job until it ends."),
            "download": (
                "cli.client.download",
                "Download all files of a job and check their sha256.",
            ),
            "cancel": ("cli.client.lifecycle", "Cancel a queued or running job."),
            "retry": (
                "cli.client.lifecycle",
                "Queue a failed or cancelled job again, with new attempts.",
            ),
            "delete": (
                "cli.client.lifecycle",
                "Delete finished jobs with their reports and files.",
            ),
            "calibration": ("cli.client.calibration_sets", "Manage uploaded calibration texts."),
            "webhooks": ("cli.client.webhooks", "Have addresses notified when jobs end."),
        },
    ),
    "Run a service": (
        "slimgpt up --models examples --texts examples/model/texts",
        {
            "up": ("cli.service.up", "Run the whole service on this machine until Ctrl-C."),
            "doctor": (
                "cli.service.doctor",
                "Check this machine and the service on it, and say what to do.",
            ),
            "keys": (
                "cli.service.keys",
                "Create, list and revoke API keys in the service's database.",
            ),
            "config": ("cli.service.config_check", "Check the service's settings."),
            "database": (
                "migrations.command:app",
                "Show and change the schema version of the database.",
            ),
        },
    ),
}
COMMANDS = {name: place for _, commands in SECTIONS.values() for name, place in commands.items()}
STATUSES = "Exit status: 0 success, 1 refused or failed, 2 usage error, 130 Ctrl-C."


class LazyCommands(Mapping[str, Any]):
    """The commands by name; a command is imported on access."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name][0].partition(":")
        found = getattr(import_module(module), attribute or name)
        if not isinstance(found, typer.Typer):
            single = Commands()
            single.command(name)(found)
            found = single
        found.info.cls = CommandGroup  # of the migrations' own command, too
        command = typer.main.get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class LazyGroup(CommandGroup):
    """All commands, listed without importing them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = LazyCommands()  # type: ignore[assignment]

    def sections(self, ctx: Any) -> Sections:
        """What the help lists."""
        return {
            title: (example, {name: first for name, (_, first) in commands.items()})
            for title, (example, commands) in SECTIONS.items()
        }


app = Commands(
    "slimgpt",
    cls=LazyGroup,
    help="Prune large language models, layer by layer, here or as a service.",
    epilog=STATUSES,
    add_completion=True,
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
