"""`slimgpt webhooks` against a real API and a real sender, as users see it."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner
from typer.testing import Result as Outcome

from cli.main import app
from cli.service.home import Home
from jobs.pepper import read_pepper
from jobs.settings import Settings
from tests.api.conftest import api, base_url
from tests.receiver import Receiver
from worker.housekeeping.webhook_sender import WebhookSender

__all__ = ["api", "base_url"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As `slimgpt up` has them: a pepper that the home keeps, receivers on this machine."""
    home = Home.at(settings.home, None, None)
    home.ensure_pepper()
    given = settings.model_dump(exclude={"key_pepper"})
    return Settings(**given | {"webhook_allow_private": True})


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def sender(settings: Settings, base_url: str) -> Iterator[WebhookSender]:
    """The sender beside the API's database."""
    from jobs.store.database import make_engine

    engine = make_engine(settings.database_url.get_secret_value())
    made = WebhookSender(settings, engine)
    made.start()
    yield made
    made.stop()
    engine.dispose()


@pytest.fixture
def client(base_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `slimgpt webhooks` in a pipe."""
    monkeypatch.setenv("SLIMGPT_URL", base_url)

    def run(*arguments: str) -> Outcome:
        outcome = CliRunner().invoke(app, ["webhooks", *arguments])
        assert outcome.exception is None or isinstance(outcome.exception, SystemExit)
        assert "\x1b" not in outcome.output
        return outcome

    return run


def test_the_pepper_of_a_home_is_made_once_and_for_its_owner(tmp_path: Path) -> None:
    home = Home.at(tmp_path, None, None)
    home.ensure_pepper()
    pepper = read_pepper(tmp_path)
    assert len(pepper) == 64
    assert stat.S_IMODE((tmp_path / "pepper").stat().st_mode) == 0o600
    home.ensure_pepper()
    assert read_pepper(tmp_path) == pepper
    assert Settings(home=tmp_path).key_pepper.get_secret_value() == pepper
    other = "0" * 32
    assert Settings(home=tmp_path, key_pepper=other).key_pepper.get_secret_value() == other
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


def test_a_webhook_from_its_making_to_its_end(
    client: Any, receiver: Receiver, sender: WebhookSender, api: httpx.Client
) -> None:
    made = client("create", receiver.url(), "--event", "job.failed", "--description", "[b] night")
    secret = made.stdout.strip()
    assert secret.startswith("whsec_")
    assert "it is not shown again" in made.stderr
    (webhook,) = json.loads(client("list", "--json").stdout)["items"]
    assert webhook["events"] == ["job.failed"]
    table = client("list").stdout
    assert webhook["id"] in table
    assert "[b] night" in table
    assert secret not in table

    sent = json.loads(client("test", webhook["id"], "--json").stdout)
    (received,) = receiver.wait_for(1)
    assert received.verified(secret)["type"] == "webhook.test"
    assert client("redeliver", webhook["id"], sent["id"]).stdout == f"{sent['id']} pending\n"
    receiver.wait_for(2)
    assert sent["id"] in client("deliveries", webhook["id"]).stdout

    new = json.loads(client("rotate", webhook["id"], "--json").stdout)["secret"]
    assert new != secret
    assert client("delete", webhook["id"]).stdout == f"{webhook['id']} deleted\n"
    assert client("list").stdout == "no webhooks yet\n"
    assert api.get(f"/webhooks/{webhook['id']}").status_code == 404


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["create", "https://169.254.169.254/latest"], "not public"),
        (["create", "gopher://127.0.0.1"], "must begin with"),
        (["create", "https://127.0.0.1", "--event", "job.born"], "events/0"),
        (["test", "wh_none"], "there is no webhook 'wh_none'"),
        (["deliveries", "wh_none"], "there is no webhook 'wh_none'"),
    ],
)
def test_what_is_refused_is_one_line(client: Any, arguments: list[str], words: str) -> None:
    outcome = client(*arguments)
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("error: ")
    assert words in outcome.stderr
    assert outcome.stderr.count("\n") == 1
