"""`client.jobs`: post, plan, follow, wait for and manage jobs; their reports and files."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Unpack
from urllib.parse import quote
from uuid import uuid4

from anyio import sleep

from slimgpt.client._async.downloads import download
from slimgpt.client._async.transport import AsyncTransport
from slimgpt.client.errors import (
    ClientError,
    JobFailedError,
    TooManyRequestsError,
    UnavailableError,
    UnreachableError,
)
from slimgpt.client.event_stream import PATIENCE_SECONDS, PAUSE_SECONDS, Following, JobEvent
from slimgpt.client.job_fields import JobFields, JobFilters, Spec, body_of, params_of
from slimgpt.client.models.engine_log import EngineLog
from slimgpt.client.models.jobs import (
    Artifact,
    Job,
    JobLayer,
    JobPage,
    JobSummary,
    Snippet,
    Status,
)
from slimgpt.client.models.reports import Plan, Report, SweepReport, report_of
from slimgpt.client.progress_bar import job_bar, wanted
from slimgpt.client.requests import Request
from slimgpt.report.document import ReportError

JobRef = str | Job | JobSummary
"""A job or its id."""


class AsyncJobs:
    """The service's jobs. A job is named by itself or by its id."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        spec: Spec | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Unpack[JobFields],
    ) -> Job:
        """Post a job: `create(model="local:model", ratio=0.25)`.

        Args:
            spec: a `PruneSpec` or JSON, which `fields` refine.
            idempotency_key: two calls with the same one and the same job make one job; default: a
                new one, so that a call whose answer is lost is safely repeated.
            fields: of the job.

        Raises:
            InvalidRequestError: `error.errors` names the invalid fields.
            TooManyRequestsError: the owner has too many unfinished jobs.
        """
        key = idempotency_key or str(uuid4())
        request = Request(
            method="POST",
            path="/jobs",
            json=body_of(spec, fields),
            headers={"Idempotency-Key": key},
        )
        return Job.model_validate(await self._transport.json(request))

    async def plan(self, spec: Spec | None = None, /, **fields: Unpack[JobFields]) -> Plan:
        """What such a job would leave of every layer, and what it would cost; nothing is run."""
        request = Request(method="POST", path="/plans", json=body_of(spec, fields))
        return Plan.model_validate(await self._transport.json(request))

    async def get(self, job: JobRef) -> Job:
        """The job as it is now."""
        return Job.model_validate(await self._transport.json(Request(path=_path(job))))

    async def status(self, job: JobRef) -> Status:
        """How far the job is."""
        request = Request(path=f"{_path(job)}/status")
        return Status.model_validate(await self._transport.json(request))

    async def list(
        self, *, limit: int = 50, cursor: str | None = None, **filters: Unpack[JobFilters]
    ) -> JobPage:
        """A page of jobs, newest first; `cursor` is the `next_cursor` of the page before."""
        params = {**params_of(filters), "limit": limit, "cursor": cursor}
        request = Request(path="/jobs", params=params)
        return JobPage.model_validate(await self._transport.json(request))

    async def all(self, **filters: Unpack[JobFilters]) -> AsyncIterator[JobSummary]:
        """Every job, newest first, page by page."""
        cursor: str | None = None
        while True:
            page = await self.list(**filters, cursor=cursor)
            for job in page.items:
                yield job
            cursor = page.next_cursor
            if cursor is None:
                return

    async def layers(self, job: JobRef) -> Sequence[JobLayer]:
        """The layers that are finished."""
        answer = await self._transport.json(Request(path=f"{_path(job)}/layers"))
        return [JobLayer.model_validate(layer) for layer in answer["items"]]

    async def report(self, job: JobRef) -> Report | SweepReport:
        """The report of a succeeded job; `raw` has all of it as JSON.

        Raises:
            ConflictError: the job has no result.
        """
        answer = await self._transport.json(Request(path=f"{_path(job)}/report"))
        try:
            return report_of(answer, f"the report of {_id(job)}")
        except ReportError as error:
            raise ClientError(str(error)) from error

    async def report_page(self, job: JobRef) -> str:
        """The report as a self-contained HTML page.

        Raises:
            ConflictError: the job has no result.
            GoneError: its files have expired.
        """
        return await self._transport.text(Request(path=f"{_path(job)}/report.html"))

    async def artifacts(self, job: JobRef) -> Sequence[Artifact]:
        """The files of a succeeded job.

        Raises:
            ConflictError: the job has no result.
            GoneError: its files have expired.
        """
        answer = await self._transport.json(Request(path=f"{_path(job)}/artifacts"))
        return [Artifact.model_validate(file) for file in answer["items"]]

    async def usage(self, job: JobRef) -> Sequence[Snippet]:
        """Code that uses the files of a succeeded job: curl first, then each format's loaders.

        Raises:
            ConflictError: the job has no result.
            GoneError: its files have expired.
        """
        answer = await self._transport.json(Request(path=f"{_path(job)}/usage"))
        return [Snippet.model_validate(one) for one in answer["items"]]

    async def log(self, job: JobRef) -> EngineLog:
        """The last lines of the job's last failed engine, and its memory at the end."""
        request = Request(path=f"{_path(job)}/log")
        return EngineLog.model_validate(await self._transport.json(request))

    async def download(
        self,
        job: JobRef,
        directory: str | Path,
        *,
        files: Sequence[Artifact] | None = None,
        bar: bool | None = None,
    ) -> Path:
        """Download files into a new folder, each checked against its SHA-256.

        They are collected in `DIRECTORY.JOB.partial`, which takes the name when all are complete;
        the same call goes on where an earlier one was interrupted. Files are written in this
        thread.

        Args:
            files: some of `artifacts(job)`; default: all.
            bar: show progress; default: in a terminal.

        Returns:
            The folder.

        Raises:
            DamagedFileError: a file differs from the service's list; it is removed.
            ClientError: the folder is not empty.
            OSError: a file cannot be written.
        """
        wanted_files = await self.artifacts(job) if files is None else files
        return await download(
            self._transport, _id(job), wanted_files, Path(directory), bar=wanted(bar)
        )

    async def cancel(self, job: JobRef) -> Job:
        """Cancel a job; a running one is `cancelling` until its worker has stopped the engine."""
        request = Request(method="POST", path=f"{_path(job)}/cancel")
        return Job.model_validate(await self._transport.json(request))

    async def retry(self, job: JobRef, *, anew: bool = False) -> Job:
        """Queue a failed or cancelled job again.

        Args:
            anew: start at the first layer, not after the last finished one.
        """
        body = {"anew": True} if anew else None
        request = Request(method="POST", path=f"{_path(job)}/retry", json=body, repeatable=False)
        return Job.model_validate(await self._transport.json(request))

    async def delete(self, job: JobRef) -> None:
        """Delete a finished job with its report and files."""
        await self._transport.text(Request(method="DELETE", path=_path(job), repeatable=False))

    async def stream(
        self,
        job: JobRef,
        *,
        after: str | None = None,
        timeout: float | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> AsyncIterator[JobEvent]:
        """The job's states (`Status`) and the engine's events (`slimgpt.events`), to its end.

        A lost connection is opened again, and the events since then come; an `Outage` says that the
        service has stopped answering, and another that it answers again. Types of events that this
        version does not know are left out.

        Args:
            after: id of an event; only later ones come.
            timeout: seconds after which a `WaitTimeoutError` is raised.
            patience: seconds for which the service may be gone.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        following = Following(_id(job), after, deadline, patience)
        while not following.over:
            try:
                async with self._transport.open(following.request()) as response:
                    following.opened = True
                    async for line in response.aiter_lines():
                        for event in following.feed(line):
                            yield event
                        if following.over:
                            return
                for outage in following.ended():
                    yield outage
            except (UnreachableError, TooManyRequestsError, UnavailableError) as error:
                for outage in following.lost(error):
                    yield outage
            await sleep(PAUSE_SECONDS)

    async def wait(
        self,
        job: JobRef,
        *,
        timeout: float | None = None,
        bar: bool | None = None,
        check: bool = True,
    ) -> Job:
        """Follow a job to its end.

        Args:
            timeout: in seconds; the job continues after it.
            bar: show progress; default: in a terminal and in a notebook.
            check: raise an exception unless it succeeds.

        Raises:
            JobFailedError: it failed or was cancelled; `error.job` is the job.
            WaitTimeoutError: it has not finished in time.
        """
        with job_bar(shown=wanted(bar)) as show:
            async for event in self.stream(job, timeout=timeout):
                if isinstance(event, Status):
                    show(event)
        ended = await self.get(job)
        if check and ended.status != "succeeded":
            raise JobFailedError(ended)
        return ended


def _id(job: JobRef) -> str:
    return job if isinstance(job, str) else job.id


def _path(job: JobRef) -> str:
    return f"/jobs/{quote(_id(job), safe='')}"
