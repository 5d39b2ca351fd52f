"""What a report says of the machine that it was made on."""

from __future__ import annotations

import os

import torch

from slimgpt.machine import environment


def test_cores_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert environment.describe(torch.device("cpu"))["cores"] == 1
    finally:
        os.sched_setaffinity(0, allowed)
