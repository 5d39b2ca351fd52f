"""Ctrl-C ends the work whatever a library has made of it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

from cli.terminal.ctrl_c import CtrlC


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def swallow() -> None:
    try:
        press()
    except KeyboardInterrupt:
        raise ValueError("could not determine the shape") from None


def test_it_is_an_interrupt_although_a_library_raises_something_else() -> None:
    with pytest.raises(KeyboardInterrupt), CtrlC():
        swallow()


def test_it_is_heeded_although_a_library_has_swallowed_it() -> None:
    with CtrlC() as ctrl_c:
        ctrl_c.raise_if_pressed()
        with suppress(KeyboardInterrupt):
            press()
        with pytest.raises(KeyboardInterrupt):
            ctrl_c.raise_if_pressed()


def test_other_errors_stay_what_they_are_and_the_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="of its own"), CtrlC():
        raise ValueError("of its own")
    assert signal.getsignal(signal.SIGINT) is before
