"""Calls that go on beside the caller's work."""

from __future__ import annotations

import platform
import threading

import psutil
import pytest

from common.memory import give_back_freed
from common.parallel import Behind


def test_calls_are_made_in_order_by_another_thread_and_all_of_them() -> None:
    seen: list[tuple[int, bool]] = []
    main = threading.get_ident()
    with Behind(lambda i: seen.append((i, threading.get_ident() == main)), 2) as later:
        for i in range(20):
            later(i)
    assert seen == [(i, False) for i in range(20)]


def test_no_more_wait_than_may() -> None:
    begun, gate = [], threading.Event()

    def slow(i: int) -> None:
        begun.append(i)
        assert gate.wait(10)

    with Behind(slow, 2) as later:
        later(0)
        later(1)
        opener = threading.Timer(0.2, gate.set)
        opener.start()
        later(2)  # waits for the first
        assert gate.is_set()
    assert begun == [0, 1, 2]


def test_a_failure_is_raised_at_the_latest_on_leaving() -> None:
    def fail(i: int) -> None:
        raise KeyError(i)

    with pytest.raises(KeyError, match="0"), Behind(fail, 5) as later:
        later(0)
        later(1)


def test_a_failure_of_the_caller_drops_what_was_not_begun() -> None:
    seen: list[int] = []
    gate = threading.Event()

    def slow(i: int) -> None:
        assert gate.wait(10)
        seen.append(i)

    with pytest.raises(ValueError, match="mine"), Behind(slow, 9) as later:
        for i in range(5):
            later(i)
        threading.Timer(0.1, gate.set).start()
        raise ValueError("mine")
    assert seen == [0]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the memory is glibc's")
def test_memory_that_was_freed_in_holes_is_given_back() -> None:
    held = [bytearray(1000) for _ in range(60_000)]
    # Something small at the end keeps the whole stretch.
    last = held[::1000]
    del held
    before = psutil.Process().memory_info().rss
    give_back_freed()
    assert psutil.Process().memory_info().rss < before - 30e6 and len(last) == 60
