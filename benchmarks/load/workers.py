"""Simulated workers: they take messages and write to the store as real ones do, and prune nothing.

    python -m benchmarks.load.workers COUNT LAYER_SECONDS

The settings are the service's `SLIMGPT_*` variables. Runs until TERM.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
import time
from collections.abc import Iterator

from kombu import Connection

from jobs.messages.progress import Progress
from jobs.messages.queue import QUEUE
from jobs.settings import Settings, load
from jobs.states import Status
from jobs.store.database import make_engine
from jobs.store.records import Claim
from jobs.store.store import Store
from slimgpt.events import LayerFinished

LAYERS = 32


def main(count: int, layer_seconds: float) -> None:
    """Run so many workers, each on a thread."""
    settings = load()
    threads = [
        threading.Thread(target=work, args=(settings, f"simulated:{i}", layer_seconds), daemon=True)
        for i in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def work(settings: Settings, name: str, layer_seconds: float) -> None:
    """Claim job after job, the oldest for each message, and live through it."""
    store = Store(make_engine(settings.database_url.get_secret_value()))
    redis_url = settings.redis_url.get_secret_value()
    progress = Progress.connect(redis_url)
    for _ in received(redis_url, threading.Event()):
        claim = store.claim_next(name)
        if claim is not None:
            live(store, progress, claim, layer_seconds)


def received(redis_url: str, over: threading.Event) -> Iterator[None]:
    """The messages of the queue, acknowledged, until `over` is set."""
    with Connection(redis_url) as connection, connection.SimpleQueue(QUEUE) as messages:
        while not over.is_set():
            with contextlib.suppress(queue.Empty):
                messages.get(timeout=1).ack()
                yield


def live(store: Store, progress: Progress, claim: Claim, layer_seconds: float) -> None:
    """One job: a layer row and a renewal or a look after every pause, then failed on purpose."""
    job_id, epoch = claim.job.id, claim.epoch
    progress.start(job_id)
    progress.record_status(job_id, Status.RUNNING)
    store.stage(job_id, epoch, "prune")
    for number in range(LAYERS):
        time.sleep(layer_seconds)
        event = layer(number, layer_seconds)
        store.layer_done(job_id, epoch, event)
        progress.record(job_id, event)
        (store.look if number % 20 else store.renew)(job_id, epoch)
    store.fail(job_id, epoch, {"code": "simulated", "message": "nothing was pruned", "hint": ""})
    progress.record_status(job_id, Status.FAILED)


def layer(number: int, seconds: float) -> LayerFinished:
    """An event as the engine writes for a layer of a 7B."""
    return LayerFinished(
        layer=number,
        layers_total=LAYERS,
        heads_before=32,
        heads=24,
        kv_heads_before=32,
        kv_heads=24,
        channels_before=11008,
        channels=8256,
        parameters_before=202383360,
        parameters=151781376,
        attention_error=0.01,
        ffn_error=0.02,
        attention_damping=0.01,
        ffn_damping=0.01,
        seconds=seconds,
        resumed=False,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
