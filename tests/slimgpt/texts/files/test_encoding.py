"""Small files as their users' editors save them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slimgpt.texts.files import encoding
from slimgpt.texts.files.encoding import BadText, decoded, read_small

TEXT = st.text(st.characters(exclude_characters="\0\r\ufeff", codec="utf-8"))


@given(text=TEXT, saved=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
       end=st.sampled_from(["\n", "\r\n", "\r"]))  # fmt: skip
def test_any_text_comes_back(text: str, saved: str, end: str) -> None:
    assert decoded(text.replace("\n", end).encode(saved)) == text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"gr\xfcn", "line 1 is not UTF-8"),
        ("[0.1]".encode("utf-16-le"), "is UTF-16, not UTF-8: save it as UTF-8"),
        ("[0.1]".encode("utf-16")[:-1], "is damaged UTF-16"),
        (b"PK\x03\x04\x14\0", "is a ZIP archive or an Office document"),
        (b"0.1\0", "line 1 contains NUL"),
    ],
)
def test_what_is_no_text_says_what_it_is(content: bytes, words: str) -> None:
    with pytest.raises(BadText) as e:
        decoded(content)
    assert words in str(e.value)


def test_a_file_of_options_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"0" * 11)
    monkeypatch.setattr(encoding, "SMALL", 10)
    with pytest.raises(BadText, match="is larger than"):
        read_small(tmp_path / "a")


def test_the_engine_says_what_a_specification_in_bytes_of_another_kind_is(
    tmp_path: Path,
) -> None:
    """And reads one with a mark: what it then says is of the model, which is not there."""
    for content, words in (
        ('{"model": "local:none", "ratio": 0.2}'.encode("utf-16"), "model-not-found"),
        (b"\xef\xbb\xbf" + b'{"model": "local:none", "ratio": 0.2}\r\n', "model-not-found"),
        (b"\x80\x04\x95", "spec.json: the file is a pickle, not text"),
    ):
        (tmp_path / "spec.json").write_bytes(content)
        command = [sys.executable, "-m", "slimgpt", "plan", "spec.json"]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert said.returncode == 1
        assert words in said.stdout
