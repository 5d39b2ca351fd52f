"""The model card, read as the hub's own library reads it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from slimgpt.report import document, html_page, licences, model_card
from slimgpt.sources import licence
from tests.slimgpt.report.sample import HOSTILE, report


def made(folder: Path, **changes: object) -> ModelCard:
    content = report(3) | changes
    (folder / "README.md").write_text(model_card.render(document.of(content, "report"), folder))
    read: ModelCard = ModelCard.load(folder / "README.md")
    return read


def test_the_hubs_library_reads_what_was_measured(tmp_path: Path) -> None:
    read = made(tmp_path)
    content, data = report(3), read.data
    assert isinstance(data, ModelCardData)
    assert data.eval_results
    assert (data.base_model, data.license) == ("org/model-7b", "apache-2.0")
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-generation")
    scores = {(r.dataset_name, r.dataset_config, r.metric_type): r.metric_value
              for r in data.eval_results}  # fmt: skip
    expected = {
        (p["text"], f"{p['sequence_length']}-token windows", "perplexity"): p["recovered"]
        for p in content["perplexity"]
    }
    expected |= {(t["task"], "0-shot", "acc_norm"): t["recovered"] for t in content["tasks"]}
    assert scores == expected


def test_the_unrecovered_model_has_the_unrecovered_scores(tmp_path: Path) -> None:
    content = report(2)
    read = made(tmp_path, recovery=content["recovery"] | {"published": False}, tasks=[])
    assert isinstance(read.data, ModelCardData)
    assert read.data.eval_results
    assert [r.metric_value for r in read.data.eval_results] == [
        one["pruned"] for one in content["perplexity"]
    ]
    assert "This folder contains the pruned model." in read.text


def test_the_text_says_how_to_load_what_was_removed_and_whose_licence(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "trust_remote_code" not in made(tmp_path).text
    (tmp_path / "config.json").write_text('{"auto_map": {}}')
    text = made(tmp_path).text
    assert 'from_pretrained("THIS_FOLDER", trust_remote_code=True)' in text
    assert "| parameters | 6,738,415,616 | 5,390,732,493 |" in text
    assert "The base model's licence applies: apache-2.0." in text


def test_two_runs_of_one_job_have_the_same_card(tmp_path: Path) -> None:
    """A job that was resumed, or ran again, publishes the same bytes."""
    slower = report(3)["layers"]
    for layer in slower:
        layer["seconds"] *= 2
    texts = [
        made(tmp_path, seconds={"prune": 1.0}, peak_memory_bytes=peak, layers=layers).content
        for peak, layers in ((1, slower), (2, report(3)["layers"]))
    ]
    assert texts[0] == texts[1]


def test_strangers_words_are_words(tmp_path: Path) -> None:
    text = model_card.render(document.of(report(2, HOSTILE), "report"), tmp_path)
    front, body = re.findall(r"\A---\n(.*?)\n---\n(.*)\Z", text, re.DOTALL)[0]
    assert yaml.safe_load(front)["model-index"][0]["results"][0]["dataset"]["name"] == HOSTILE
    assert "base_model" not in yaml.safe_load(front)  # it is no name of the hub
    assert "<script>" not in body
    assert r"\|\`\$x\_\$\`" in body


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("# a\n- b", r"\# a - b"),
        ("[x](https://a.b)", r"\[x\](https:&#47;/a.b)"),
        ("www.a.b @c a*b", r"www&#46;a.b &#64;c a\*b"),
        ("local:model", "local:model"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
    ],
)
def test_markdown_of_strangers_does_nothing(words: str, shown: str) -> None:
    assert model_card.escaped(words) == shown


@pytest.mark.parametrize(
    ("said", "front"),
    [
        ("MIT", {"license": "mit"}),
        (None, {}),
        ("llama3.1", {"license": "llama3.1"}),
        ("PSF-2.0", {"license": "other", "license_name": "psf-2.0"}),
        (
            "TONGYI QIANWEN LICENSE (v1)",
            {"license": "other", "license_name": "tongyi-qianwen-license-v1"},
        ),
    ],
)
def test_licences_are_named_as_the_hub_names_them(
    said: str | None, front: dict[str, str], tmp_path: Path
) -> None:
    assert licences.front_matter(said) == front
    content = report(1)
    made(tmp_path, model=content["model"] | {"licence": said})
    # What is pruned again knows its parent's licence.
    assert licence.of_folder(tmp_path) == (front.get("license_name") or front.get("license"))


def test_card_and_page_name_the_recipe(tmp_path: Path) -> None:
    content = report(3)
    named = content["spec"] | {"recipe": "measured"}
    assert re.search(r"Recipe\W+measured", made(tmp_path, spec=named).text)
    page = html_page.render(document.of(content | {"spec": named}, "report"))
    assert "<dt>Recipe</dt><dd>measured</dd>" in page
    assert "<dt>Recipe</dt>" not in html_page.render(document.of(content, "report"))
