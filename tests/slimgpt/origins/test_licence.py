"""Licences as model folders state them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slimgpt.origins.licence import of_folder


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
