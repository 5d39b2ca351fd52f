"""`Signatures`: derived webhook secrets, and Standard Webhooks signature headers.

A secret is computed, not stored: HMAC-SHA256 of the webhook's id and the secret's version under the
server's pepper. A reader of the database can sign nothing, and rotation increments the version.
Another pepper gives other secrets; `check` is stored beside the version to detect that, so that
nothing is signed with a secret that receivers do not know.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime

from standardwebhooks import Webhook as Signer

from jobs.store.keys import require_pepper
from jobs.store.webhooks.records import Delivery, Webhook

ROTATION_SECONDS = 24 * 3600.0


class PepperChanged(Exception):  # noqa: N818 - says what is the case
    """The secret was computed with another pepper; the message is for the owner."""

    def __init__(self) -> None:
        super().__init__("the service can no longer compute this webhook's secret; rotate it")


class Signatures:
    """Secrets under one pepper.

    Args:
        pepper: `Settings.key_pepper`, the same for every process.

    Raises:
        jobs.store.keys.BadKeyRequest: the pepper is missing or short.
    """

    def __init__(self, pepper: str) -> None:
        require_pepper(pepper)
        self._pepper = pepper.encode()

    def secret(self, webhook_id: str, version: int) -> str:
        """The secret: `whsec_` and 32 bytes in base64."""
        key = self._derive("secret", webhook_id, version)
        return "whsec_" + base64.b64encode(key).decode()

    def check(self, webhook_id: str, version: int) -> str:
        """A value that identifies the pepper without revealing it."""
        return self._derive("check", webhook_id, version).hex()

    def knows(self, webhook: Webhook) -> bool:
        """Whether the webhook's secret was computed with this pepper."""
        expected = self.check(webhook.id, webhook.secret_version)
        return hmac.compare_digest(expected, webhook.secret_check)

    def headers(self, webhook: Webhook, delivery: Delivery, now: datetime) -> Mapping[str, str]:
        """The headers of Standard Webhooks, with both signatures for a day after a rotation.

        Raises:
            PepperChanged: receivers would not know the signature.
        """
        if not self.knows(webhook):
            raise PepperChanged
        versions = [webhook.secret_version]
        if webhook.previous_until is not None and now < webhook.previous_until:
            versions.append(webhook.secret_version - 1)
        whole = now.astimezone(UTC).replace(microsecond=0)
        signed = [
            Signer(self.secret(webhook.id, version)).sign(delivery.id, whole, delivery.body)
            for version in versions
        ]
        return {
            "webhook-id": delivery.id,
            "webhook-timestamp": str(int(whole.timestamp())),
            "webhook-signature": " ".join(signed),
        }

    def _derive(self, purpose: str, webhook_id: str, version: int) -> bytes:
        text = f"slimgpt webhook {purpose}\0{webhook_id}\0{version}"
        return hmac.new(self._pepper, text.encode(), hashlib.sha256).digest()
