"""Secrets of every kind are taken out, and nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.logs.redaction import MASK, Redaction, secrets_of
from jobs.settings import Settings

SHAPES = Redaction()
KEY = "slim_0123456789ab_" + "q9" * 26


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"a key {KEY}.", KEY[18:]),
        ("whsec_" + "MfKQ9r8GKYqrTwjU/PD+ILPZIo2LaLaSw==", "MfKQ9r8G"),
        ("token hf_abcdefghijklmnopqrstuvwxyz012345", "abcdefghij"),
        ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
        ("Authorization: Bearer c2VjcmV0LXNlY3JldA==", "c2VjcmV0"),
        ("b'authorization', b'Basic dXNlcjpwYXNz'", "dXNlcjpw"),
        ("postgresql+psycopg://ann:hunter2@db/jobs", "hunter2"),
        ("redis://:hunter2@cache:6379/0", "hunter2"),
        ("https://s/x?X-Amz-Credential=AKI%2F2026&X-Amz-Signature=0123abcd", "0123abcd"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalr"),
        ("environ({'HF_TOKEN': 'hunter2hunter2', 'PATH': '/bin'})", "hunter2"),
        ('{"SLIMGPT_KEY_PEPPER": "hunter2hunter2"}', "hunter2"),
    ],
)
def test_secrets_are_known_by_their_shape(text: str, secret: str) -> None:
    assert secret in text
    masked = SHAPES.text(text)
    assert secret not in masked
    assert MASK in masked
    in_json = SHAPES.text(json.dumps({"said": text}))
    assert secret not in in_json
    assert json.loads(in_json)["said"]


@pytest.mark.parametrize(
    "text",
    [
        "job_01hzx3v9qk8m2n4p6r7s8t9v0w claimed, model local:hf_tiny",
        '{"type": "perplexity", "tokens": 213741, "text": "wikitext2"}',
        "GET http://127.0.0.1:8000/jobs?cursor=am9iXzAx HTTP/1.1",
        "layers.3.mlp.down_proj: error 0.0123 at damping 0.01",
        "TOKENIZERS_PARALLELISM=false MAX_TOKEN=1234567",
        "the bearer of bad news",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert SHAPES.text(text) == text


@given(st.text(min_size=12, max_size=60))
def test_a_secret_known_by_value_is_found_however_it_is_written(secret: str) -> None:
    known = Redaction([secret])
    said = [f"<{secret}>", json.dumps({"a": secret}), f"{[secret]!r}"]
    masked = [known.text(text) for text in said]
    assert masked[0].startswith("<")
    assert all(MASK in text for text in masked)
    assert json.dumps(secret)[1:-1] not in masked[1]
    json.loads(masked[1])


def test_the_secrets_of_a_process_are_its_settings_and_its_environments(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        database_url="postgresql://ann:data%40base-pass@db/jobs",
        redis_url="redis://:redis-password@r/0",
        key_pepper="p" * 32,
        metrics_token="m" * 16,
    )
    environment = {"AWS_SECRET_ACCESS_KEY": "aws-secret-key", "PATH": "/bin", "HF_TOKEN": "hf_x"}
    assert set(secrets_of(settings, environment)) >= {
        "data@base-pass",
        "data%40base-pass",
        "redis-password",
        "p" * 32,
        "m" * 16,
        "aws-secret-key",
    }
    assert "/bin" not in set(secrets_of(settings, environment))


def test_short_passwords_do_not_blind_the_log() -> None:
    assert Redaction(["slimgpt"]).text("slimgpt is ready") == "slimgpt is ready"
