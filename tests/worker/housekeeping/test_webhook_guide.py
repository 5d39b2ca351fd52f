"""The receiver in the guide, as printed there, takes what is ours and refuses what is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from jobs.messages.webhook_urls import WebhookUrls
from jobs.store.webhooks.records import Delivery, DeliveryStatus, Webhook
from jobs.store.webhooks.signatures import Signatures
from tests.servers import free_port, wait_until
from worker.housekeeping.webhook_client import WebhookClient

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "webhooks.md"
SIGNATURES = Signatures("a pepper that only the tests know, of some length")
NOW = datetime.now(UTC)
WEBHOOK = Webhook(
    "wh_1", "ada", "", "", [], True, None, 1, SIGNATURES.check("wh_1", 1), None, None, NOW, NOW
)
BODY = '{"type":"job.failed","timestamp":"","data":{"id":"job_1","metadata":{"ü":"€"}}}'


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the guide's receiver listens."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    script = tmp_path / "receiver.py"
    script.write_text(code, encoding="utf-8")
    port = free_port()
    secret = SIGNATURES.secret(WEBHOOK.id, 1)
    environment = os.environ | {"WEBHOOK_SECRET": secret, "PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}/"

    def up() -> bool:
        try:
            return httpx.post(address, content=b"{}", trust_env=False).status_code == 400
        except httpx.TransportError:
            return False

    wait_until(up, "the guide's receiver refuses what is not signed", 60)
    yield address
    process.kill()
    process.wait()


def test_it_takes_what_is_signed_and_nothing_else(address: str) -> None:
    delivery = Delivery(
        "msg_1",
        "wh_1",
        "job.failed",
        "job_1",
        BODY,
        DeliveryStatus.PENDING,
        1,
        0,
        [],
        NOW,
        NOW,
        None,
    )
    headers = SIGNATURES.headers(WEBHOOK, delivery, datetime.now(UTC))
    client = WebhookClient(WebhookUrls(private=True), 30)
    assert client.post(address, BODY.encode(), headers).status_code == 204
    assert client.post(address, BODY.encode() + b" ", headers).status_code == 400
    assert (
        client.post(address, BODY.encode(), {**headers, "webhook-id": "msg_2"}).status_code == 400
    )
    late = SIGNATURES.headers(WEBHOOK, delivery, datetime.fromtimestamp(0, UTC))
    assert client.post(address, BODY.encode(), late).status_code == 400
