"""`Staging`: a job's stages, each gone through with all of its models.

What is told of a stage counts over all models; what is found out is noted with each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TypeVar

from slimgpt.events import (
    Event,
    LayerFinished,
    PointEvent,
    Progress,
    Stage,
    StageFinished,
    StageStarted,
    Warned,
)
from slimgpt.machine import memory
from slimgpt.stages.state import Findings

T = TypeVar("T")
Work = Callable[[Findings], Generator[Event, None, None]]


class Staging:
    """Takes a job's models through its stages.

    Args:
        points: what is known of each model; one but in a sweep.
    """

    def __init__(self, points: Sequence[Findings]) -> None:
        self._points = points

    def shared(self, stage: Stage, work: Generator[Event, None, T]) -> Generator[Event, None, T]:
        """A stage that is gone through once for all models; returns what the work returns."""
        yield StageStarted(stage=stage)
        began = time.monotonic()
        memory.forget_peak(self._points[0].device)
        result = yield from self._noted(work, self._points)
        self._measured(stage, time.monotonic() - began, self._points)
        yield StageFinished(stage=stage, seconds=time.monotonic() - began)
        return result

    def each(self, stage: Stage, work: Work) -> Iterator[Event]:
        """A stage that is gone through with one model after the other."""
        yield StageStarted(stage=stage)
        began = time.monotonic()
        for number, point in enumerate(self._points):
            since = time.monotonic()
            memory.forget_peak(point.device)
            for event in self._noted(work(point), [point]):
                yield self._placed(event, number)
            self._measured(stage, time.monotonic() - since, [point])
        yield StageFinished(stage=stage, seconds=time.monotonic() - began)

    def _noted(
        self, work: Generator[Event, None, T], points: Sequence[Findings]
    ) -> Generator[Event, None, T]:
        """The work's events, its warnings kept for the reports."""
        while True:
            try:
                event = next(work)
            except StopIteration as finished:
                result: T = finished.value
                return result
            if isinstance(event, Warned):
                place = "" if event.layer is None else f"layer {event.layer}: "
                for point in points:
                    point.warnings.append(place + event.message)
            yield event

    def _measured(self, stage: Stage, seconds: float, points: Sequence[Findings]) -> None:
        for point in points:
            point.seconds[stage] = seconds
            point.peaks[stage] = memory.peak_bytes(point.device)

    def _placed(self, event: Event, number: int) -> Event:
        """An event of one model as one of the job's."""
        count = len(self._points)
        if count == 1:
            return event
        target = self._points[number].spec.target
        match event:
            case Progress():
                what = f"{target}, {event.what}" if event.what else target
                done, total = number * event.total + event.done, count * event.total
                return event.model_copy(update={"done": done, "total": total, "what": what})
            case Warned():
                return event.model_copy(update={"message": f"{target}: {event.message}"})
            case LayerFinished():
                total = event.layers_total * count
                place = {"point": number, "points": count, "layers_total": total}
                return event.model_copy(update=place)
            case PointEvent():
                return event.model_copy(update={"point": number})
        return event
