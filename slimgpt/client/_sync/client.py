"""The client itself: where the service is, and its resources."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from slimgpt.client._sync.calibration_sets import CalibrationSets
from slimgpt.client._sync.jobs import Jobs
from slimgpt.client._sync.keys import Keys
from slimgpt.client._sync.sources import Models, Texts
from slimgpt.client._sync.transport import Transport
from slimgpt.client._sync.webhooks import Webhooks
from slimgpt.client.models.service import Overview, ProblemKind, Worker
from slimgpt.client.requests import RETRIES, TIMEOUT_SECONDS, Request, Service


class Client:
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
        self._transport = Transport(Service.of(url, api_key), retries, timeout)
        self.jobs = Jobs(self._transport)
        self.calibration_sets = CalibrationSets(self._transport)
        self.models = Models(self._transport)
        self.texts = Texts(self._transport)
        self.webhooks = Webhooks(self._transport)
        self.keys = Keys(self._transport)

    @property
    def url(self) -> str:
        """Address of the service, without a slash at the end."""
        return self._transport.url

    def overview(self) -> Overview:
        """Whose the key is, and the number of jobs by status."""
        return Overview.model_validate(self._transport.json(Request(path="/overview")))

    def workers(self) -> Sequence[Worker]:
        """The workers that were heard in the last day, those heard last first."""
        answer = self._transport.json(Request(path="/workers"))
        return [Worker.model_validate(one) for one in answer["items"]]

    def problem_kind(self, kind: str) -> ProblemKind:
        """What a problem means, and what to do: `client.problem_kind(error.kind)`."""
        request = Request(path=f"/problems/{kind}", versioned=False)
        return ProblemKind.model_validate(self._transport.json(request))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
