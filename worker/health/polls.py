"""Celery consumer step that updates the heartbeat at every answered poll of the broker."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty
from typing import Any

from celery import bootsteps


def poll_step(beat: Callable[[], None]) -> type[bootsteps.StartStopStep]:
    """A Celery consumer step that calls `beat` whenever the broker answers a poll."""

    class Polls(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        def start(self, consumer: Any) -> None:  # also after every reconnection
            handlers = consumer.task_consumer.channel.handlers
            handlers["BRPOP"] = _beating(handlers["BRPOP"], beat)

    return Polls


def _beating(read: Callable[..., Any], beat: Callable[[], None]) -> Callable[..., Any]:
    """Wrap the reader of BRPOP's answer: a message, or `Empty` after a second without one."""

    def read_and_beat(**options: Any) -> Any:
        try:
            answer = read(**options)
        except Empty:
            beat()
            raise
        beat()
        return answer

    return read_and_beat
