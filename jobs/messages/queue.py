"""`Queue`: sends job ids to the Celery workers. A message is a hint; the row is authoritative.

A worker that receives a message takes the oldest queued job, whichever the message names.

Messages are acknowledged on receipt. On Redis, Celery redelivers a message that is unacknowledged
after the visibility timeout, even if its task still runs, and a job runs for hours. Leases and the
outbox of the store (`jobs.store.store`) repair lost messages.
"""

from __future__ import annotations

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

TASK = "slimgpt.prune_job"
QUEUE = "slimgpt"
CONNECT_SECONDS = 2.0
SOFT_SHUTDOWN_SECONDS = 20.0
UNACKED_SECONDS = 60
"""Visibility timeout: a live worker acknowledges at once."""


class QueueUnavailable(Exception):  # noqa: N818 - says what is the case
    """The broker cannot be reached. The job stays queued; its message is sent later."""


def make_app(redis_url: str) -> Celery:
    """The Celery application, with the same configuration for senders and workers."""
    app = Celery("slimgpt", broker=redis_url, set_as_current=False)
    app.conf.update(
        # One long task at a time: take a message only when free to work on it.
        worker_pool="prefork",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        task_acks_late=False,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_default_queue=QUEUE,
        task_serializer="json",
        accept_content=["json"],
        worker_soft_shutdown_timeout=SOFT_SHUTDOWN_SECONDS,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # outlive any outage of the broker
        broker_connection_timeout=CONNECT_SECONDS,
        broker_transport_options={
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": 25,
            # Messages of a worker that died before it acknowledged are restored. Until then they
            # count as waiting. One that is restored too early is a harmless duplicate.
            "visibility_timeout": UNACKED_SECONDS,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 1,
        },
    )
    return app


class Queue:
    """Sends messages to the broker, and counts those that wait.

    Args:
        redis_url: the broker, `redis://…` or `rediss://…`.
    """

    def __init__(self, redis_url: str) -> None:
        self.app = make_app(redis_url)
        # Sending must fail within seconds during an outage.
        self.app.conf.broker_transport_options |= {
            "socket_timeout": CONNECT_SECONDS,
            "max_retries": 0,
            "retry_on_timeout": False,
        }

    def publish(self, job_id: str) -> None:
        """Send the job's message.

        Raises:
            QueueUnavailable: the broker did not take it within a few seconds.
        """
        try:
            self.app.send_task(TASK, args=[job_id], queue=QUEUE, ignore_result=True, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            raise QueueUnavailable(
                f"job {job_id} is stored, but the broker did not accept its message: {error}"
            ) from error

    def waiting(self) -> int:
        """Number of messages that no worker has acknowledged yet.

        Raises:
            QueueUnavailable: the broker did not answer within a few seconds.
        """
        try:
            with self.app.connection_or_acquire() as connection:
                channel = connection.default_channel
                with channel.conn_or_acquire() as client:
                    return int(client.llen(QUEUE)) + int(client.hlen(channel.unacked_key))
        except (OperationalError, RedisError, OSError) as error:
            raise QueueUnavailable(f"the broker does not answer: {error}") from error

    def close(self) -> None:
        """Close the connections to the broker."""
        self.app.close()
