"""Make `carried/`: requests of instances, and one query that each may be put into.

What the core unfolds and the agent folds are both tested on these files. Written here without
either. Run as `python -m tests.vectors.make_carried`: the files are the same each time.
"""

import base64
import json
import zlib
from pathlib import Path

TARGET = Path(__file__).parent / "carried"
PLAIN = {"method": "GET", "path": "/v2/authorities/blue/krl", "body": ""}
REQUESTS = {
    "plain": PLAIN,
    "known-already": {**PLAIN, "if_none_match": '"7"'},
    "signed-beyond-ascii": {
        "method": "PUT",
        "path": "/v2/authorities/blue/hosts/db-1/report?a=%2F",
        "body": '{"os":"bläu"}',
        "host": "db-1",
        "time": "2026-01-02T03:04:05Z",
        "nonce": "5a" * 16,
        "signature": "c2ln",
    },
}


def folded(value):
    """Return the query: stored, not packed, which is the same in every zlib."""
    packed = zlib.compress(json.dumps(value).encode(), 0)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    vectors = [{"name": n, "request": v, "query": folded(v)} for n, v in REQUESTS.items()]
    (TARGET / "requests.json").write_text(json.dumps(vectors, indent=2) + "\n")
