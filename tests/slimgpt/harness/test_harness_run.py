"""Scores of models whose answers are known by hand, and the harness's own on the same questions."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from slimgpt.harness import catalogue
from slimgpt.harness.harness_run import batch_size
from slimgpt.machine.rank_processes import FirstRank
from slimgpt.sources.roots import Roots
from tests.slimgpt.harness.bigram import Bigram
from tests.slimgpt.harness.conftest import CPU, Scored, write
from tests.slimgpt.tiny import Tiny


def arc(right: str, *choices: str) -> dict[str, Any]:
    labels = list("ABCD")[: len(choices)]
    answer = labels[choices.index(right)]
    options = {"text": list(choices), "label": labels}
    return {"question": "Which?", "choices": options, "answerKey": answer}


@pytest.fixture
def model(roots: Roots) -> Path:
    """Says yes, B, and goes on after an `a` with a blank; cares for nothing else."""
    return Bigram({" y": 9.0, " B": 9.0, "a ": 9.0}).save(roots.models / "hand")


def test_choices_are_scored_as_computed_by_hand(model: Path, roots: Roots, scored: Scored) -> None:
    """Every character costs the same: the sum favours the shortest, the mean the longest.

    ` yes` is longer than ` no` by a character, which the 9 nats more than pay for.
    """
    boolq = {"question": "is it", "passage": "It is."}
    write(roots.texts / "q/boolq_val.jsonl", [{**boolq, "label": n} for n in (1, 1, 1, 0)])
    shortest, longest = arc("cc", "cc", "dddd"), arc("dddd", "cc", "dddd")
    write(roots.texts / "q/arc_easy_test.jsonl", [shortest, longest, longest, longest, longest])
    who = {"sentence": "Tom saw Anna when _ called.", "option1": "Tom", "option2": "Anna"}
    write(roots.texts / "q/winogrande_xl_val.jsonl", [{**who, "answer": n} for n in "221"])
    names = ["boolq", "arc_easy", "winogrande"]
    rows = scored(model, {"tasks": names, "tasks_source": "local:q"})
    values = {key: row.value for key, row in rows.items()}
    assert values == {
        ("boolq", "acc"): 3 / 4,
        ("arc_easy", "acc"): 1 / 5,
        ("arc_easy", "acc_norm"): 4 / 5,
        ("winogrande", "acc"): pytest.approx(2 / 3),
    }
    assert {row.samples for row in rows.values()} == {4, 5, 3}
    error = (0.75 * 0.25 / 3) ** 0.5  # of the mean of four, by the sample's variance
    assert rows["boolq", "acc"].error == pytest.approx(error)


def test_random_pairs_choose_as_computed_by_hand(roots: Roots, scored: Scored) -> None:
    letters, dice = "abc ", random.Random(3)
    pairs = {x + y: dice.uniform(-3, 3) for x in ": abc" for y in letters}
    bigram = Bigram(pairs)
    rows, by_sum, by_mean = [], 0, 0
    for _ in range(40):
        choices = ["".join(dice.choices("abc", k=dice.randint(1, 6))) for _ in range(4)]
        rows.append(arc(dice.choice(choices), *choices))
        right = choices[list("ABCD").index(rows[-1]["answerKey"])]
        costs = {one: bigram.log_likelihood("Answer:", f" {one}") for one in choices}
        by_sum += max(choices, key=lambda one: costs[one]) == right
        by_mean += max(choices, key=lambda one: costs[one] / len(one)) == right
    write(roots.texts / "arc.jsonl", rows)
    found = scored(
        bigram.save(roots.models / "random"),
        {"tasks": [{"name": "arc_challenge", "source": "local:arc.jsonl"}]},
    )
    assert found["arc_challenge", "acc"].value == pytest.approx(by_sum / 40)
    assert found["arc_challenge", "acc_norm"].value == pytest.approx(by_mean / 40)
    assert 0 < by_sum < 40


def test_devices_divide_the_questions(roots: Roots, scored: Scored) -> None:
    letters, dice = "abc ", random.Random(5)
    pairs = {x + y: dice.uniform(-3, 3) for x in ": abc" for y in letters}
    rows = []
    for _ in range(21):
        choices = ["".join(dice.choices("abc", k=dice.randint(1, 6))) for _ in range(4)]
        rows.append(arc(dice.choice(choices), *choices))
    write(roots.texts / "arc.jsonl", rows)
    model = Bigram(pairs).save(roots.models / "random")
    asked = {"tasks": [{"name": "arc_challenge", "source": "local:arc.jsonl"}]}
    alone = scored(model, asked)
    with FirstRank(CPU, 2) as two:
        assert scored(model, asked, two) == alone
    assert 0 < alone["arc_challenge", "acc"].value < 1


def test_a_subject_answers_by_letter_and_groups_weigh_by_size(
    model: Path, roots: Roots, scored: Scored
) -> None:
    """The model says B; the mean of all is over questions, as the harness has it."""
    subjects = [name.removeprefix("mmlu_") for name in catalogue.find("mmlu").tasks]
    question = {"question": "Which?", "choices": ["w", "x", "y", "z"]}
    dev = [{"subject": one, **question, "answer": 0} for one in subjects for _ in range(5)]
    answers = {one: [1, 0] for one in subjects} | {"anatomy": [1, 1, 1]}  # anatomy is of `stem`
    test = [{"subject": s, **question, "answer": n} for s, all_ in answers.items() for n in all_]
    write(roots.texts / "z/mmlu_dev.jsonl", dev)
    write(roots.texts / "z/mmlu_test.jsonl", test)
    rows = scored(model, {"tasks": ["mmlu"], "tasks_source": "local:z"})
    parts = ["mmlu_stem", "mmlu_other", "mmlu_social_sciences", "mmlu_humanities", "mmlu"]
    assert [task for task, _ in rows] == parts
    assert {row.shots for row in rows.values()} == {5}
    assert rows["mmlu", "acc"].samples == len(test) == 115
    assert rows["mmlu", "acc"].value == pytest.approx((56 + 3) / 115)
    assert rows["mmlu_stem", "acc"].value == pytest.approx((18 + 3) / 39)
    assert rows["mmlu_humanities", "acc"].value == 0.5


# The task's own libraries, of 2020, escape no backslashes and miss a faster one.
@pytest.mark.filterwarnings("ignore")
def test_a_task_of_long_answers_generates_and_scores_them(roots: Roots, scored: Scored) -> None:
    """Greedily the model says xyxy… until its 128 tokens are over: one word, right or wrong."""
    folder = Bigram({":x": 9.0, "xy": 9.0, "yx": 9.0}).save(roots.models / "talker")
    row = {"context": "Letters.", "question": "Which?"}
    rows = [{**row, "answers": [answer]} for answer in ("xy" * 64, "xy" * 63, "xy" * 64)]
    write(roots.texts / "longbench_qasper.jsonl", rows)
    task = {"name": "longbench_qasper", "source": "local:longbench_qasper.jsonl"}
    found = scored(folder, {"tasks": [task]})
    assert found["longbench_qasper", "score"].value == pytest.approx(2 / 3)


@pytest.mark.parametrize("shots", [0, 2])
def test_scores_are_the_harness_own(
    shots: int, tmp_path: Path, roots: Roots, scored: Scored
) -> None:
    """The stock task over the same rows by the harness's own way, on the model as users load it."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dice = random.Random(shots)
    words = ["red", "blue sky", "a stone", "forty-two", "nobody", "the sea"]
    options = [dice.sample(words, 4) for _ in range(30)]
    rows = [arc(dice.choice(one), *one) for one in options]
    asked = write(roots.texts / "q/arc_easy_test.jsonl", rows[:24])
    shown = write(roots.texts / "q/arc_easy_train.jsonl", rows[24:])
    folder = Tiny(tokenizer=True).save(roots.models / "tiny")
    mine = scored(
        folder,
        {
            "tasks": [{"name": "arc_easy", "shots": shots, "limit": 20}],
            "tasks_source": "local:q",
        },
    )
    config = {
        "include": str(catalogue._folder() / "arc/arc_easy.yaml"),
        "task": "reference",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {
            "data_files": {"test": str(asked), "train": str(shown)},
            "cache_dir": str(tmp_path / "cache"),
        },
    }
    (tmp_path / "yaml").mkdir()
    (tmp_path / "yaml/reference.yaml").write_text(yaml.safe_dump(config))
    manager = TaskManager(include_path=str(tmp_path / "yaml"), include_defaults=False)
    plain = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        batch_size=batch_size(259, CPU),
    )
    told = lm_eval.simple_evaluate(
        model=plain,
        tasks=["reference"],
        num_fewshot=shots,
        limit=20,
        task_manager=manager,
        bootstrap_iters=1000,
    )
    theirs = told["results"]["reference"]
    for metric in ("acc", "acc_norm"):
        row = mine["arc_easy", metric]
        assert row.value == theirs[f"{metric},none"]
        assert row.error == pytest.approx(theirs[f"{metric}_stderr,none"])
        assert (row.samples, row.shots) == (20, shots)


def test_the_seven_tasks_of_the_paper_run_from_one_folder(shared: Path, tmp_path: Path) -> None:
    from slimgpt.harness.harness_task import prepare
    from slimgpt.spec.prune import EvaluationSpec

    roots = Roots(models=tmp_path, texts=shared / "data")
    wanted = {"tasks": [{"name": "commonsense", "limit": 2}], "tasks_source": "local:zeroshot"}
    (harness_task,) = prepare(EvaluationSpec.model_validate(wanted), roots)
    counts = {leaf.name: len(leaf.task.eval_docs) for leaf in harness_task.leaves}
    assert counts == {
        "boolq": 3270,
        "piqa": 1838,
        "hellaswag": 5000,
        "winogrande": 1267,
        "arc_easy": 2376,
        "arc_challenge": 1172,
        "openbookqa": 500,
    }
