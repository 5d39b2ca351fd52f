"""Data sets from a hub that speaks the real protocol, with real texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from slimgpt.errors import CalibrationError, HubUnreachableError, StorageError
from slimgpt.sources.roots import Roots
from slimgpt.texts import hub as hub_texts
from slimgpt.texts import sources as texts
from slimgpt.texts.rows import text_of
from tests.hub import Hub


@pytest.fixture
def repository(repositories: Path) -> Iterator[Path]:
    """An empty data set repository of the test's own: `hf:own/set`."""
    import shutil

    folder = repositories / "datasets/own/set"
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def test_c4_is_its_first_shard_alone(hub: Hub, roots: Roots, shared: Path) -> None:
    documents = texts.documents("c4", roots=roots)
    lines = (shared / "data/c4/c4-en-1300.jsonl").read_text("utf-8").splitlines()
    assert list(documents) == [json.loads(line)["text"] for line in lines[:1000]]
    assert documents.description.startswith("c4, allenai/c4@")
    assert documents.description.endswith("(en, train), 1,000 documents")
    assert not [path for path in hub.asked if "00001-of" in path or "/tree/" in path]


@pytest.mark.parametrize("source", ["alpaca", "gpt4-alpaca"])
def test_alpaca_is_the_same_with_and_without_its_text_field(
    hub: Hub, roots: Roots, shared: Path, source: str
) -> None:
    rows = json.loads((shared / "data/alpaca/alpaca_data_1k.json").read_text("utf-8"))
    assert list(texts.documents(source, roots=roots)) == [text_of(row, None) for row in rows]


def test_wikitext_calibrates_on_whole_articles(hub: Hub, roots: Roots, shared: Path) -> None:
    documents = texts.documents("wikitext2", roots=roots)
    lines = (shared / "data/wikitext2/wiki.valid.raw").read_text("utf-8").splitlines()
    titles = [line for line in lines if line.startswith(" = ") and not line.startswith(" = =")]
    assert len(documents) == len(titles) == 60
    assert [document.strip().split("\n")[0].strip() for document in documents] == [
        title.strip() for title in titles
    ]


def test_wikitext_is_evaluated_as_papers_do(hub: Hub, roots: Roots, shared: Path) -> None:
    raw = (shared / "data/wikitext2/wiki.test.raw").read_text("utf-8")
    rows = [line if line.strip() else "" for line in raw.splitlines(keepends=True)]
    assert texts.evaluation_text("wikitext2", roots) == "\n\n".join(rows)
    assert not [path for path in hub.asked if "train" in path and "/cdn/" in path]


def test_c4_is_evaluated_on_the_start_of_its_validation(
    hub: Hub, roots: Roots, shared: Path
) -> None:
    lines = (shared / "data/c4/c4-en-1300.jsonl").read_text("utf-8").splitlines()
    expected = " ".join(json.loads(line)["text"] for line in lines[:1100])
    assert texts.evaluation_text("c4", roots) == expected


def test_any_set_by_name_configuration_split_and_field(
    hub: Hub, roots: Roots, repository: Path
) -> None:
    for split, words in (("train", ["a", "b"]), ("test", ["c"])):
        rows = [{"title": word, "body": word * 3} for word in words]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (repository / f"{split}.jsonl").write_text(lines)
    read = texts.documents("hf:own/set", text_field="body", roots=roots)
    assert list(read) == ["aaa", "bbb"]
    test = texts.documents("hf:own/set", split="test", text_field="body", roots=roots)
    assert list(test) == ["ccc"]
    with pytest.raises(CalibrationError, match=r"hf:own/set: no field 'x'; .* are: title, body"):
        texts.documents("hf:own/set", text_field="x", roots=roots)
    with pytest.raises(
        CalibrationError, match=r"no field is known to contain text; .* title, body"
    ):
        texts.documents("hf:own/set", roots=roots)
    with pytest.raises(CalibrationError, match="no split 'dev'; its splits are: train, test"):
        texts.documents("hf:own/set", split="dev", roots=roots)


def test_any_set_is_evaluated_on_its_test_split(hub: Hub, roots: Roots, repository: Path) -> None:
    (repository / "train.jsonl").write_text(json.dumps({"text": "a"}))
    (repository / "test.jsonl").write_text('{"text": "b"}\n{"text": "c"}\n')
    assert texts.evaluation_text("hf:own/set", roots) == "b\n\nc"


def test_a_configuration_that_is_missing_or_unknown_lists_those_there_are(
    hub: Hub, roots: Roots
) -> None:
    name = "hf:Salesforce/wikitext"
    assert len(texts.documents(name, config="wikitext-103-raw-v1", roots=roots)) == 3760
    for config in (None, "wikitext-9"):
        with pytest.raises(CalibrationError, match=r"wikitext-103-raw-v1.*wikitext-2-raw-v1"):
            texts.documents(name, config=config, roots=roots)


def test_only_the_first_files_are_downloaded(
    hub: Hub, roots: Roots, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        name = f"train-0000{number}-of-00005.jsonl"
        (repository / name).write_text(json.dumps({"text": f"part {number}"}) + "\n")
    monkeypatch.setattr(hub_texts, "ENOUGH", 50)  # bytes: two of five files
    documents = texts.documents("hf:own/set", roots=roots)
    assert list(documents) == ["part 0", "part 1"]
    assert "2 of 5 files" in documents.description
    assert not [path for path in hub.asked if "00002-of" in path]


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t")])
def test_tables_are_read(hub: Hub, roots: Roots, repository: Path, name: str, mark: str) -> None:
    (repository / name).write_text(f'id{mark}text\n1{mark}"Eins,\nzwei."\n2{mark}Drei.\n')
    assert list(texts.documents("hf:own/set", roots=roots)) == ["Eins,\nzwei.", "Drei."]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"set.py": "raise SystemExit\n", "a.jsonl": '{"text": "x"}\n'}, "scripts are no longer"),
        ({"a.txt": "text\n"}, r"files are \.txt; only Parquet, JSON and CSV are supported"),
        ({"README.md": "nothing else"}, "contain any data files"),
        ({"a.jsonl": '{"text": "x"}\n{"text": '}, "the data set's json files cannot be read"),
        ({"a.parquet": "not parquet"}, "the data set's parquet files cannot be read"),
    ],
)
def test_sets_that_cannot_be_read(
    hub: Hub, roots: Roots, repository: Path, files: dict[str, str], message: str
) -> None:
    for name, content in files.items():
        (repository / name).write_text(content)
    with pytest.raises(CalibrationError, match=message) as e:
        texts.documents("hf:own/set", roots=roots)
    assert e.value.hint
    assert str(repository.parent) not in str(e.value)


def test_rows_of_another_shape_are_named(hub: Hub, roots: Roots, repository: Path) -> None:
    (repository / "a.jsonl").write_text('{"text": 1}\n')
    documents = texts.documents("hf:own/set", roots=roots)
    with pytest.raises(CalibrationError, match="hf:own/set: row 0: field 'text' is of type int"):
        _ = documents[0]


def test_a_name_never_means_a_folder_or_format_of_this_machine(
    hub: Hub, roots: Roots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own/set").mkdir(parents=True)
    (tmp_path / "own/set/a.jsonl").write_text('{"text": "secret"}\n')
    (tmp_path / "json").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("hf:own/set", "hf:json", "hf:text"):
        with pytest.raises(CalibrationError, match=r"does not exist on the hub|has no owner"):
            texts.documents(name, roots=roots)


def test_sets_that_may_not_be_read(hub: Hub, roots: Roots, repository: Path) -> None:
    (repository / "a.jsonl").write_text('{"text": "x"}\n')
    hub.gated.add("own/set")
    with pytest.raises(CalibrationError, match=r"'own/set' .* is gated on the hub; .*HF_TOKEN"):
        texts.documents("hf:own/set", roots=roots)
    hub.private.add("own/set")
    with pytest.raises(CalibrationError, match=r"'own/set' .* does not exist .*, or is private"):
        texts.documents("hf:own/set", roots=roots)


def test_hubs_that_do_not_answer(hub: Hub, roots: Roots, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.down = True
    with pytest.raises(
        HubUnreachableError, match=r"'allenai/c4' \(c4\): the hub answered with status 503"
    ):
        texts.documents("c4", roots=roots)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubUnreachableError, match="HF_HUB_OFFLINE is set"):
        texts.documents("c4", roots=roots)


def test_sets_too_large_for_the_disk_are_not_begun(
    hub: Hub, roots: Roots, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    (repository / "a.jsonl").write_text('{"text": "x"}\n')
    usage = shutil.disk_usage(roots.texts)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(StorageError, match=r"data set 'own/set' needs .* GiB in the hub.s cache"):
        texts.documents("hf:own/set", roots=roots)
    assert not [path for path in hub.asked if path.endswith("a.jsonl")]
