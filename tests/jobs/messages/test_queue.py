"""Publishing to a real broker, to none, and to one that never answers."""

from __future__ import annotations

import base64
import json
import socket

import pytest

from jobs.messages.queue import QUEUE, TASK, UNACKED_SECONDS, Queue, QueueUnavailable, make_app
from tests.servers import RedisServer, free_port


def messages(server: RedisServer) -> list[tuple[str, list[str]]]:
    """Task and arguments of the messages that wait."""
    with server.client() as client:
        raw = client.lrange(QUEUE, 0, -1)
    assert isinstance(raw, list)
    waiting = [json.loads(message) for message in raw]
    return [(m["headers"]["task"], json.loads(base64.b64decode(m["body"]))[0]) for m in waiting]


def test_a_message_names_the_task_and_the_job(redis_url: str, redis_server: RedisServer) -> None:
    queue = Queue(redis_url)
    queue.publish("job_1")
    queue.publish("job_2")
    queue.close()
    assert messages(redis_server) == [(TASK, ["job_2"]), (TASK, ["job_1"])]


def test_no_broker_is_said_at_once() -> None:
    queue = Queue(f"redis://127.0.0.1:{free_port()}/0")
    with pytest.raises(QueueUnavailable, match="job job_1 is stored, but"):
        queue.publish("job_1")
    queue.close()


def test_a_broker_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        queue = Queue(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        with pytest.raises(QueueUnavailable):
            queue.publish("job_1")
        queue.close()


def test_it_recovers_with_the_broker() -> None:
    server = RedisServer()
    server.start()
    queue = Queue(server.url)
    queue.publish("job_1")
    server.kill()
    with pytest.raises(QueueUnavailable):
        queue.publish("job_2")
    server.start()
    queue.publish("job_3")
    assert messages(server) == [(TASK, ["job_3"])]
    queue.close()
    server.close()


def test_waiting_messages_are_counted_over_a_restart_of_the_broker() -> None:
    server = RedisServer()
    server.start()
    queue = Queue(server.url)
    assert queue.waiting() == 0
    queue.publish("job_1")
    queue.publish("job_2")
    with server.client() as client:
        client.hset("unacked", "tag", "taken, and not acknowledged")
    assert queue.waiting() == 3
    server.kill()
    with pytest.raises(QueueUnavailable, match="does not answer"):
        queue.waiting()
    server.start()  # with nothing in it
    assert queue.waiting() == 0
    queue.close()
    server.close()


def test_a_message_that_a_dead_worker_took_and_did_not_acknowledge_comes_back(
    redis_url: str, redis_server: RedisServer
) -> None:
    queue, worker, another = Queue(redis_url), make_app(redis_url), make_app(redis_url)
    queue.publish("job_1")
    with worker.connection() as held, another.connection() as connection:
        assert held.default_channel.basic_get(QUEUE, no_ack=False) is not None
        with redis_server.client() as client:
            client.zincrby(
                "unacked_index", -2 * UNACKED_SECONDS, *client.zrange("unacked_index", 0, 0)
            )
        assert messages(redis_server) == []
        connection.default_channel.qos.restore_visible(interval=1)
        assert messages(redis_server) == [(TASK, ["job_1"])]
    for app in (queue, worker, another):
        app.close()
