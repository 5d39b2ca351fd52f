"""Paths that people write become names below roots, and bad values name their option."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from cli.engine.recover import OPTIONS as OPTIONS_OF_RECOVER
from cli.options.groups import option_names
from cli.options.job import Job, Schedule
from cli.options.specification import (
    device_name,
    locate_texts,
    make_spec,
    read_ratios,
)
from slimgpt.errors import CalibrationError
from slimgpt.sources.roots import Roots


def test_texts_of_several_folders_share_a_root(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "one.txt", tmp_path / "b" / "c" / "two.jsonl"]
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("words")
    names, root = locate_texts([str(files[0]), "wikitext2", "held-out", str(files[1])])
    assert list(names.values()) == ["local:a/one.txt", "local:b/c/two.jsonl"]
    roots = Roots(tmp_path, root, confined=False)
    assert [roots.text(names[str(file)]) for file in files] == files


def test_a_missing_text_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="no such file"):
        locate_texts(["c4", str(tmp_path / "absent.txt")])


def test_a_schedule_is_a_shape_the_methods_own_or_a_file(tmp_path: Path) -> None:
    ends = {"first_ratio": None, "last_ratio": None}
    end = {**ends, "first_ratio": 0.1}
    assert Schedule().fields() == {}
    assert Schedule(first_ratio=0.1).fields() == {"shape": "log", **end}
    assert Schedule(first_ratio=0.1).fields("flap") == {"shape": "global", **end}
    assert Schedule(first_ratio=0.1).fields(base={"shape": "linear"}) == end
    assert Schedule(shape="linear").fields() == {"shape": "linear", "ratios": None, **ends}
    file = tmp_path / "ratios"
    file.write_text("0.1\n0.2\n")
    explicit = Schedule(shape=str(file)).fields()
    assert explicit == {"shape": "explicit", "ratios": [0.1, 0.2], **ends}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    "content", ["[0.1, 0.25]", "0.1\r\n0.25\r\n", "0.1\r0.25", "[0.1,\r\n0.25]"]
)
def test_a_schedule_file_is_read_as_it_was_saved(
    tmp_path: Path, encoding: str, content: str
) -> None:
    file = tmp_path / "ratios.txt"
    file.write_bytes(content.encode(encoding))
    assert read_ratios(file) == [0.1, 0.25]


def test_the_name_of_a_shape_goes_before_a_file_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log").write_text("what a program has written")
    monkeypatch.chdir(tmp_path)
    fields = Schedule(shape="log").fields()
    assert (fields["shape"], fields["ratios"]) == ("log", None)


@pytest.mark.parametrize("content", ["[0.1, [0.2]]", "[0.1", "0.1 much"])
def test_a_schedule_file_holds_numbers(tmp_path: Path, content: str) -> None:
    file = tmp_path / "ratios"
    file.write_text(content)
    with pytest.raises(typer.BadParameter, match="one number per line"):
        Schedule(shape=str(file)).fields()


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"ratio": 1.0}, "--ratio"),
        ({"calibration": {"samples": 0}}, "--samples"),
        ({"calibration": {"sequence_length": 1}}, "--seq-len"),
        ({"evaluation": {"sequence_lengths": (1,)}}, "--eval-seq-len"),
        ({"schedule": {"shape": "steep"}}, "--schedule"),
        ({"group_size": "huge"}, "--group-size"),
        ({"damping": 0}, "--damping"),
    ],
)
def test_a_bad_value_names_its_option(fields: dict[str, object], option: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        make_spec({"model": "local:m", "ratio": 0.2, **fields}, option_names(Job))
    assert caught.value.param_hint == option


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"ratio": None}, "exactly one of --ratio, --parameters and --memory"),
        ({"gguf_type": "f16"}, "--gguf-type needs format `gguf`"),
        ({"schedule": {"shape": "uniform", "last_ratio": 0.1}}, "neither --first-ratio nor --last"),
        ({"evaluation": {"tasks": ["piqa", "piqa"]}}, "--task names piqa more than once"),
    ],
)
def test_what_contradicts_itself_is_told_in_options(fields: dict[str, object], words: str) -> None:
    with pytest.raises(typer.BadParameter, match=words) as caught:
        make_spec({"model": "local:m", "ratio": 0.2, **fields}, option_names(Job))
    assert caught.value.param_hint is None


@pytest.mark.parametrize(("field", "option"), [("samples", "--samples"), ("rank", "--lora-rank")])
def test_an_option_is_named_as_its_command_has_it(field: str, option: str) -> None:
    """What `prune` calls --recover-samples is --samples of `recover`."""
    with pytest.raises(typer.BadParameter) as caught:
        make_spec({"model": "local:m", "ratio": 0.0, "recovery": {field: 0}}, OPTIONS_OF_RECOVER)
    assert caught.value.param_hint == option


def test_devices_are_checked_without_torch() -> None:
    assert device_name("cuda:1") == "cuda:1"
    with pytest.raises(typer.BadParameter, match="none of auto"):
        device_name("tpu")


def test_a_schedule_that_is_none_names_those_there_are() -> None:
    with pytest.raises(typer.BadParameter, match="none of log, linear, uniform") as refused:
        Schedule(shape="nosuch").fields()
    assert "explicit" not in str(refused.value)


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"ratio": 30}, "--ratio"),
        ({"ratios": ["0.2", "30"]}, "--ratio"),
        ({"ratio": 0.2, "schedule": {"shape": "log", "first_ratio": 30}}, "--first-ratio"),
    ],
)
def test_a_percentage_is_told_its_ratio(fields: dict[str, object], option: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"0\.3 removes 30%") as error:
        make_spec({"model": "local:tiny", **fields}, option_names(Job))
    assert error.value.param_hint == option
