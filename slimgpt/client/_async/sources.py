"""`client.models` and `client.texts`: what is below the service's roots, for use in jobs."""

from __future__ import annotations

from slimgpt.client._async.transport import AsyncTransport
from slimgpt.client.models.sources import ModelPage, TextPage
from slimgpt.client.requests import Request


class AsyncModels:
    """The models below the models root, as far as the API's machine has it."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, *, limit: int = 50, cursor: str | None = None) -> ModelPage:
        """A page of models by name; `model` is the name in jobs."""
        request = Request(path="/models", params={"limit": limit, "cursor": cursor})
        return ModelPage.model_validate(await self._transport.json(request))


class AsyncTexts:
    """The text files below the texts root; uploaded texts are in `client.calibration_sets`."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self, *, limit: int = 50, cursor: str | None = None) -> TextPage:
        """A page of texts by name; `source` is the name in jobs."""
        request = Request(path="/texts", params={"limit": limit, "cursor": cursor})
        return TextPage.model_validate(await self._transport.json(request))
