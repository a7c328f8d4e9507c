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


class Crowd:
    """Threads that do something over and over while a block lasts: `_run` until `_stopped`."""

    def __init__(self, *members):
        """Give each thread, which calls `_run`, one of the members."""
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in members]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, member):
        raise NotImplementedError
