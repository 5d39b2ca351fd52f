"""Tokenizers and templates without end: what a stranger's folder may cost, and what is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slimgpt.errors import CalibrationError, UnsupportedModelError
from slimgpt.events import Event, StageFinished
from slimgpt.pipeline import run
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from slimgpt.texts.tokenization import sandbox
from slimgpt.texts.tokenization.sandbox import opened
from slimgpt.texts.tokenization.tokenizer import Tokenizer
from tests.slimgpt.test_pipeline import SETTINGS, TEXT
from tests.slimgpt.tiny import Tiny

LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
CHAT = [{"role": "user", "content": "hello"}]
RUNS = " ".join(["a" * 21] * 200)
"""At each of them the pattern below tries a million ways to match, and does not."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Tiny(layers=1, tokenizer=True).save(tmp_path / "model")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A second of processor time in place of half a minute."""
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    yield
    monkeypatch.undo()


def template(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(text)

    return write


def part(name: str, **values: Any) -> Callable[[Path], None]:
    """A part of tokenizer.json in place of the folder's own."""

    def write(folder: Path) -> None:
        told = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps(told | {name: values}))

    return write


def split(pattern: str) -> Callable[[Path], None]:
    cut = {"pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return part("pre_tokenizer", type="Split", **cut)


def replace(content: str) -> Callable[[Path], None]:
    return part("normalizer", type="Replace", pattern={"String": "a"}, content=content)


def chat(tokenizer: Tokenizer) -> object:
    return tokenizer.chat(CHAT)


def encode(text: str) -> Callable[[Tokenizer], object]:
    return lambda tokenizer: tokenizer.encode(text)


ENDLESS: dict[str, tuple[Callable[[Path], None], Callable[[Tokenizer], object], str]] = {
    "loops": (template(LOOPS), chat, "chat template took more than 1 s of CPU time"),
    "a pattern": (split(r"(a+)+b|."), encode(RUNS), "tokenizer took more than 1 s"),
}
GREEDY: dict[str, tuple[Callable[[Path], None], Callable[[Tokenizer], object], str]] = {
    "ten gigabytes": (template("{{ 'a' * 10**10 }}"), chat, "needs more than 4 GiB of memory"),
    "a long answer": (template("{{ 'a' * 10**8 }}"), chat, "expands .* bytes of text to 95 MiB"),
    "a pattern that gives up": (split(r"(a+)+$"), encode("a" * 40 + "!"), "fails .*retry-limit"),
    "a letter": (replace("b" * 10**6), encode("a" * 20_000), "more than 4 GiB of memory"),
}


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("how", ENDLESS)
def test_what_has_no_end_is_ended(how: str, folder: Path) -> None:
    prepare, work, words = ENDLESS[how]
    prepare(folder)
    with opened(folder) as tokenizer, pytest.raises(UnsupportedModelError, match=words):
        work(tokenizer)


@pytest.mark.parametrize("how", GREEDY)
def test_what_takes_too_much_is_refused(how: str, folder: Path) -> None:
    prepare, work, words = GREEDY[how]
    prepare(folder)
    with opened(folder) as tokenizer, pytest.raises(UnsupportedModelError, match=words):
        work(tokenizer)


@pytest.mark.usefixtures("hurried")
def test_many_small_pieces_of_work_have_one_bound(folder: Path) -> None:
    """A fifth of a second for every conversation, for ever."""
    template("{% for a in range(2000) %}{% for b in range(2000) %}{% endfor %}{% endfor %}x")(
        folder
    )
    with opened(folder) as tokenizer, pytest.raises(UnsupportedModelError, match="took more than"):
        list(map(tokenizer.chat, [CHAT] * 1000))


def test_it_is_the_tokenizer_itself_otherwise(folder: Path) -> None:
    own = Tokenizer.load(folder)
    with opened(folder) as tokenizer:
        assert tokenizer.encode("hällo") == own.encode("hällo")
        assert tokenizer.encode_with_offsets("hi") == own.encode_with_offsets("hi")
        assert (tokenizer.end, tokenizer.begin) == (own.end, own.begin)
        assert (tokenizer.max_positions, tokenizer.vocabulary) == (128, 259)
        assert not tokenizer.has_chat_template
        with pytest.raises(CalibrationError, match="longer than the model's 128") as error:
            tokenizer.check_length(129)
        assert error.value.hint == "choose a sequence length of at most 128"
        with pytest.raises(AttributeError):
            _ = tokenizer.inner
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UnsupportedModelError, match="cannot be loaded"), opened(folder):
        pass


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("recovers", [False, True])
def test_a_job_fails_in_its_first_stage_with_the_reason(
    recovers: bool, roots: Roots, tmp_path: Path
) -> None:
    """Whether it renders conversations or only carries the template over."""
    template(LOOPS)(Tiny(tokenizer=True).save(roots.models / "model"))
    (roots.texts / "text.txt").write_text(TEXT)
    rows = [json.dumps({"messages": [*CHAT, {"role": "assistant", "content": "hi"}]})] * 40
    (roots.texts / "chats.jsonl").write_text("\n".join(rows))
    learned = {"recovery": {"source": "local:chats.jsonl"}} if recovers else {}
    seen: list[Event] = []
    with pytest.raises(UnsupportedModelError, match=r"chat template.* took more than 1 s"):
        seen.extend(run(PruneSpec.model_validate(SETTINGS | learned), tmp_path / "w", roots, "cpu"))
    assert [event.stage for event in seen if isinstance(event, StageFinished)] in ([], ["start"])
