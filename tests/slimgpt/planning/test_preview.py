"""`python -m slimgpt plan`: one document, no torch, nothing outside the root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from slimgpt.events import Failed
from slimgpt.planning.document import PlanPreview
from slimgpt.planning.preview import plan_preview
from slimgpt.sources.roots import Roots
from slimgpt.spec.prune import PruneSpec
from tests.slimgpt.tiny import Tiny

MODEL = Path(__file__).resolve().parents[3] / "examples" / "model"
ENGINE = [sys.executable, "-m", "slimgpt"]


def plan(model: str, root: Path) -> subprocess.CompletedProcess[bytes]:
    spec = PruneSpec(model=model, ratio=0.25).model_dump_json().encode()
    arguments = ["plan", "-", "--models-root", str(root)]
    return subprocess.run([*ENGINE, *arguments], input=spec, capture_output=True, check=False)


def test_the_plan_is_one_document() -> None:
    done = plan("local:model", MODEL.parent)
    assert done.returncode == 0, done.stderr
    preview = PlanPreview.model_validate_json(done.stdout)
    assert abs(preview.ratio_achieved - 0.25) < 0.002
    assert preview.bytes_after < preview.bytes_before


def test_formats_are_ruled_on_beforehand() -> None:
    roots = Roots(MODEL.parent, MODEL.parent)
    mixed = plan_preview(PruneSpec(model="local:model", ratio=0.25), roots)
    possible = {one.format: one.possible for one in mixed.formats}
    assert possible == {"exact": True, "uniform": False, "gguf": True, "padded": True}
    alike = PruneSpec(model="local:model", ratio=0.25, formats=("uniform",), tensor_parallel=2)
    preview = plan_preview(alike, roots)
    assert all(one.possible for one in preview.formats)
    assert preview.loaders["tensor parallel"] == "tensor parallel: possible on 2 devices"
    assert len({(row.heads, row.kv_heads, row.channels) for row in preview.layers}) == 1


def test_a_format_that_is_ruled_out_is_a_warning(tmp_path: Path) -> None:
    Tiny("gemma2").save(tmp_path / "model")
    spec = PruneSpec(model="local:model", ratio=0.25, formats=("gguf",))
    preview = plan_preview(spec, Roots(tmp_path, tmp_path))
    (warning,) = [one for one in preview.warnings if one.startswith("formats:")]
    assert "`gguf` cannot hold this model" in warning
    assert "remove `gguf` from the formats" in warning


def test_a_model_outside_the_root_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(MODEL)
    done = plan("local:out", tmp_path)
    assert done.returncode == 1
    failed = Failed.model_validate_json(done.stdout)
    assert failed.code == "model-not-found"
    assert str(MODEL) not in failed.message + failed.hint


def test_no_torch_is_loaded(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"model": "local:model", "ratio": 0.25}))
    probe = (
        "import sys\nfrom slimgpt.__main__ import main\n"
        f"main(['plan', {str(spec)!r}, '--models-root', {str(MODEL.parent)!r}])\n"
        "print(*{'torch', 'transformers'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == ""
