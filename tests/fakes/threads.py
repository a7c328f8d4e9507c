"""Doing things at the same moment."""

import threading
from concurrent.futures import ThreadPoolExecutor


def together(count, work):
    """Call `work` with 0 to count - 1 in threads that start as one; return what each gave."""
    barrier = threading.Barrier(count)

    def run(at):
        barrier.wait()
        return work(at)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
