"""Option groups: a frozen dataclass declares options once, and commands take it as a parameter.

A field is `Annotated[…, option("--name", …)]`, or another group. Fields named as the
specification's form that part of a specification.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, TypeVar, get_type_hints

import typer

from cli.terminal.command_group import CommandGroup, SectionedCommand

Fields = dict[str, Any]
Names = Mapping[str, str]
Loc = tuple[str, ...]
Command = TypeVar("Command", bound=Callable[..., None])


def option(name: str, text: str, default: object = None, **settings: Any) -> Any:
    """A `typer.Option`.

    Args:
        default: shown in the help as the default; the value itself is None.
    """
    shown = "" if default is None else f"  [default: {default}]"
    return typer.Option(name, help=f"{text}{shown}", **settings)


class Commands(typer.Typer):
    """A Typer application whose commands may take option groups."""

    def __init__(self, name: str | None = None, **settings: Any) -> None:
        plain = {
            "cls": CommandGroup,
            "no_args_is_help": True,
            "add_completion": False,
            "rich_markup_mode": None,
        }
        super().__init__(name=name, **{**plain, **settings})

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Command], Command]:
        """Register a function as a command; returns it unchanged."""

        def add(function: Command) -> Command:
            typer.Typer.command(self, name, cls=SectionedCommand, **settings)(expanded(function))
            return function

        return add


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """The command for Typer, with every option of a group as a separate parameter."""
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters
    single = [
        one
        for name, parameter in parameters.items()
        for one in _options(name, hints[name], parameter.default)
    ]

    @wraps(command)
    def run(**values: Any) -> None:
        command(**{name: _built(name, hints[name], values) for name in parameters})

    run.__signature__ = inspect.Signature(single)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in single}
    return run


def _options(name: str, kind: Any, default: Any) -> Iterator[inspect.Parameter]:
    if not is_dataclass(kind):
        yield inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
        )
        return
    hints = get_type_hints(kind, include_extras=True)
    title = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", getattr(kind, "__name__", "")).capitalize()
    for field in fields(kind):
        for told in getattr(hints[field.name], "__metadata__", ()):
            told.rich_help_panel = title  # the section of the help
        none = inspect.Parameter.empty if field.default is MISSING else field.default
        yield from _options(f"{name}_{field.name}", hints[field.name], none)


def _built(name: str, kind: Any, values: Mapping[str, Any]) -> Any:
    if not is_dataclass(kind):
        return values[name]
    hints = get_type_hints(kind)
    return kind(  # type: ignore[operator]
        **{
            field.name: _built(f"{name}_{field.name}", hints[field.name], values)
            for field in fields(kind)
        }
    )


def given(group: Any) -> Fields:
    """The given options of a group, without nested groups, by field name."""
    values = {field.name: getattr(group, field.name) for field in fields(group)}
    return {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and value != [] and not is_dataclass(value)
    }


def option_names(group: type, *place: str) -> dict[Loc, str]:
    """The option names of a group's fields, nested groups included, by their paths."""
    names: dict[Loc, str] = {}
    for name, kind in get_type_hints(group, include_extras=True).items():
        if is_dataclass(kind):
            names |= option_names(kind, *place, name)  # type: ignore[arg-type]
        else:
            names[*place, name] = kind.__metadata__[0].default  # where typer stores the name
    return names
