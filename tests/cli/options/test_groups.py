"""Options are declared once, in groups that commands take as parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from cli.main import LazyCommands
from cli.options.groups import Commands, given, option, option_names
from cli.options.job import Job
from slimgpt.spec.prune import PruneSpec
from slimgpt.spec.recipe import DEFAULT_RECIPE, RECIPES


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: Annotated[int, option("--size", "How large.", min=1)] = 3


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: Annotated[str, option("--name", "Which.")]
    inner: Inner
    tag: Annotated[list[str] | None, option("--tag", "Which more.", "none")] = None
    loud: Annotated[bool, option("--loud", "Say so.")] = False


taken: list[tuple[str, Outer, bool]] = []
app = Commands()


@app.command()
def command(
    place: Annotated[str, typer.Argument(metavar="PLACE")],
    outer: Outer,
    quick: Annotated[bool, typer.Option("--quick")] = False,
) -> None:
    """Take them."""
    taken.append((place, outer, quick))


def test_a_group_arrives_whole_with_its_parts() -> None:
    outcome = CliRunner().invoke(app, ["here", "--name", "n", "--tag", "a", "--tag", "b"])
    assert outcome.exit_code == 0, outcome.output
    assert taken.pop() == ("here", Outer(name="n", inner=Inner(size=3), tag=["a", "b"]), False)
    CliRunner().invoke(app, ["here", "--name", "n", "--size", "7", "--loud", "--quick"])
    assert taken.pop() == ("here", Outer(name="n", inner=Inner(size=7), loud=True), True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--name"),
        (["--name", "n", "--size", "0"], "--size"),
        (["--inner-size", "1"], "--inner"),
    ],
)
def test_options_of_a_group_are_checked_as_any(arguments: list[str], words: str) -> None:
    outcome = CliRunner().invoke(app, ["here", *arguments])
    assert outcome.exit_code == 2
    assert words in outcome.stderr
    assert taken == []


def test_what_was_given_and_what_it_is_called() -> None:
    assert given(Outer(name="n", inner=Inner(), tag=[])) == {"name": "n"}
    assert given(Inner(size=0)) == {"size": 0}
    places = {("of", "name"): "--name", ("of", "inner", "size"): "--size"}
    places |= {("of", "tag"): "--tag", ("of", "loud"): "--loud"}
    assert option_names(Outer, "of") == places


def test_every_option_of_a_job_sets_a_field_of_the_specification() -> None:
    schema = PruneSpec.model_json_schema()

    def properties(place: tuple[str, ...], node: dict[str, Any]) -> set[str]:
        for name in place:
            found = node["properties"][name]
            reference = [one["$ref"] for one in (found, *found.get("anyOf", ())) if "$ref" in one]
            node = schema["$defs"][reference[0].rpartition("/")[2]]
        return set(node["properties"])

    switches = {("evaluation", "inference", "timing")}
    for place in option_names(Job).keys() - switches:
        at = place[:-1]
        if at == ("evaluation", "tasks"):
            assert place[-1] in schema["$defs"]["TaskSpec"]["properties"]
        else:
            assert place[-1] in properties(at, schema), place


def test_help_tells_the_specifications_defaults() -> None:
    """`prune` and `submit` leave out what is not given; what that means is in their help."""
    spec = PruneSpec(model="local:m", ratio=0.2)
    parameters = {one.opts[0]: one.help for one in LazyCommands()["prune"].params}
    for place, name in option_names(Job).items():
        value: Any = spec
        for part in place:
            value = getattr(value, part, None)
        if place[-1] in RECIPES[DEFAULT_RECIPE]:
            assert "  [default: the recipe's" in parameters[name], name
        elif isinstance(value, str | int | float) and place[0] != "schedule":
            assert f"  [default: {value}" in parameters[name], name
    assert {one.opts[0] for one in LazyCommands()["submit"].params} >= set(
        option_names(Job).values()
    )
