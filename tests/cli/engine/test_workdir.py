"""The folder that `prune` works in says one thing at the end, not two."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.engine.workdir import Workdir
from slimgpt.errors import StorageError


def test_a_result_that_cannot_be_renamed_is_kept_and_nothing_else_is_advised(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    work = Workdir(out, resume=False)
    checkpoint = work.path / "checkpoint"
    checkpoint.mkdir()
    work.keep()
    assert "--resume" in work.left_behind()
    out.write_text("came in the way")
    with pytest.raises(StorageError, match="cannot be renamed") as refused:
        work.publish("checkpoint")
    assert str(checkpoint) in refused.value.hint
    assert work.left_behind() == ""
    work.discard_unless_kept()
    assert checkpoint.is_dir()
