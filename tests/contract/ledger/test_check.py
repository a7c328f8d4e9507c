"""Whether the ledger can be used is asked while it is used."""

import threading

from tests.contract.ledger.material import event


def test_a_check_beside_changes_takes_none_of_them_for_a_rollback(open_ledger, tmp_path):
    ledger, other = open_ledger(tmp_path / "state"), open_ledger(tmp_path / "state")
    stopped = threading.Event()

    def change():
        while not stopped.is_set():
            other.audit.append(event())

    changing = threading.Thread(target=change)
    changing.start()
    try:
        for _ in range(100):
            ledger.check()
    finally:
        stopped.set()
        changing.join()
