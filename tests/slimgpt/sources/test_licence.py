"""Licences as model folders state them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from slimgpt.sources.licence import of_folder


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        ("---\nlicense: apache-2.0\n---\n# Model", "apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: other\nlicense_name: qwen-research\n---\n", "qwen-research"),
        ("---\nlicense:\n- mit\n- cc-by-4.0\n---\n", "mit, cc-by-4.0"),
        ("---\nlanguage: en\n---\n", "MIT License"),
        ("---\nlicense: [\n---\n", "MIT License"),
        ("---\n- a list\n---\n", "MIT License"),
        ("# license: none", "MIT License"),
    ],
)
def test_the_card_comes_before_the_file(tmp_path: Path, card: str, expected: str) -> None:
    (tmp_path / "README.md").write_bytes(card.encode())
    (tmp_path / "LICENSE.txt").write_text("\n  MIT License  \n\nPermission is hereby granted")
    assert of_folder(tmp_path) == expected


def test_a_folder_may_say_nothing(tmp_path: Path) -> None:
    assert of_folder(tmp_path) is None
    (tmp_path / "LICENSE").write_text("\n \n")
    assert of_folder(tmp_path) is None


LAUGHS = "\n".join(
    ["a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 12)]
)
HOSTILE = {
    "a list of lists": f"---\n{LAUGHS}\nlicense: *a11\n---\n",
    "a depth": "---\nlicense: " + "[" * 20_000 + "\n---\n",
    "a date": "---\nlicense: 2024-13-45\n---\n",
}


@pytest.mark.parametrize("how", HOSTILE)
def test_a_card_made_to_fill_memory_says_nothing(how: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(HOSTILE[how])
    assert of_folder(tmp_path) is None


def test_files_without_end_are_not_read_to_it(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    os.truncate(tmp_path / "README.md", 1 << 40)
    assert of_folder(tmp_path) == "mit"
    (tmp_path / "README.md").unlink()
    os.mkfifo(tmp_path / "README.md")
    (tmp_path / "LICENSE").write_text("MIT License\n")
    os.truncate(tmp_path / "LICENSE", 1 << 40)
    assert of_folder(tmp_path) == "MIT License"
