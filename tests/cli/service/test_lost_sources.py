"""Jobs that were posted while other folders were served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.service import lost_sources
from jobs.settings import Settings
from jobs.store.database import make_engine
from jobs.store.store import Store
from slimgpt.spec.prune import PruneSpec


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    engine = make_engine(settings.database_url.get_secret_value())
    yield Store(engine)
    engine.dispose()


def test_only_unfinished_jobs_whose_files_are_elsewhere_are_named(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, texts = tmp_path / "some" / "models", tmp_path / "some" / "texts"
    for folder in (models / "here", texts):
        folder.mkdir(parents=True)
    (models / "here" / "config.json").write_text("{}")
    (texts / "here.txt").write_text("text")

    def posted(model: str, text: str = "local:here.txt") -> str:
        asked = {"model": model, "ratio": 0.2, "calibration": {"source": text}}
        return store.create(PruneSpec.model_validate(asked)).id

    posted("local:here")
    posted("org/name", "c4")
    store.request_cancel(posted("local:elsewhere"))
    assert lost_sources.warning(store, models, texts) is None
    lost = [posted("local:elsewhere"), posted("local:here", "local:no.txt")]
    lost += [posted("local:elsewhere") for _ in range(2)]
    said = lost_sources.warning(store, models, texts)
    assert said is not None
    assert said.startswith(f"4 unfinished jobs cannot run with --models {models}")
    assert f"{lost[0]}: there is no model folder 'elsewhere' below the models root" in said
    assert f"{lost[1]}: there is no text file 'no.txt' below the texts root" in said
    assert lost[3] not in said
    assert "; and 1 more. " in said
    monkeypatch.setattr(lost_sources, "LOOKED_AT", 3)
    said = lost_sources.warning(store, models, texts)  # the first that workers take
    assert said is not None
    assert said.startswith("1 unfinished job cannot")
    assert lost[0] in said
