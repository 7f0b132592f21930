"""Threads for waiting on others side by side; an interrupted run does not wait for them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def thread_pool(most: int) -> Iterator[ThreadPoolExecutor]:
    """At most ``most`` threads. When an exception leaves the block, what has not begun is cancelled and what runs is not waited for."""
    pool = ThreadPoolExecutor(max(1, most))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()
