"""The client itself: where the service is, and its resources."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from slimgpt.client._async.calibration_sets import AsyncCalibrationSets
from slimgpt.client._async.jobs import AsyncJobs
from slimgpt.client._async.keys import AsyncKeys
from slimgpt.client._async.sources import AsyncModels, AsyncTexts
from slimgpt.client._async.transport import AsyncTransport
from slimgpt.client._async.webhooks import AsyncWebhooks
from slimgpt.client.models.service import Overview, ProblemKind, Worker
from slimgpt.client.requests import RETRIES, TIMEOUT_SECONDS, Request, Service


class AsyncClient:
    """A client of one service; a context manager that closes its connections.

    Args:
        url: address of the service; default: SLIMGPT_URL, else `http://127.0.0.1:8000`.
        api_key: default: SLIMGPT_API_KEY; a service on its own machine may need none.
        retries: how often a request is sent again when the service does not answer or is over a
            limit, after 0.5, 1, 2, … seconds or as the service asks.
        timeout: seconds to wait for each part of an answer.

    Raises:
        ClientError: the address or the key cannot be one. So do all methods of the client and of
            its resources; a `ProblemError` has what the service says.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        retries: int = RETRIES,
        timeout: float = TIMEOUT_SECONDS,
    ) -> None:
        self._transport = AsyncTransport(Service.of(url, api_key), retries, timeout)
        self.jobs = AsyncJobs(self._transport)
        self.calibration_sets = AsyncCalibrationSets(self._transport)
        self.models = AsyncModels(self._transport)
        self.texts = AsyncTexts(self._transport)
        self.webhooks = AsyncWebhooks(self._transport)
        self.keys = AsyncKeys(self._transport)

    @property
    def url(self) -> str:
        """Address of the service, without a slash at the end."""
        return self._transport.url

    async def overview(self) -> Overview:
        """Whose the key is, and the number of jobs by status."""
        return Overview.model_validate(await self._transport.json(Request(path="/overview")))

    async def workers(self) -> Sequence[Worker]:
        """The workers that were heard in the last day, those heard last first."""
        answer = await self._transport.json(Request(path="/workers"))
        return [Worker.model_validate(one) for one in answer["items"]]

    async def problem_kind(self, kind: str) -> ProblemKind:
        """What a problem means, and what to do: `client.problem_kind(error.kind)`."""
        request = Request(path=f"/problems/{kind}", versioned=False)
        return ProblemKind.model_validate(await self._transport.json(request))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
