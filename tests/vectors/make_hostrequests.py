"""Make `hostrequest/`: what a host signs of its requests.

The core's function and the agent's are both tested on these files. Written here without either, by
hashlib and json alone. Run as `python -m tests.vectors.make_hostrequests`: the files are the same
each time.
"""

import hashlib
import json
from pathlib import Path

TARGET = Path(__file__).parent / "hostrequest"
BASE = "/v2/authorities/blue/hosts/db-1"
USUAL = {
    "authority": "blue",
    "deployment": "deployment-7",
    "host": "db-1",
    "method": "POST",
    "nonce": "5a" * 16,
    "path": f"{BASE}/certificates",
    "time": "2026-01-02T03:04:05Z",
}
REQUESTS = {
    "a-renewal": ({}, "{}"),
    "nothing-sent": ({"method": "GET", "path": f"{BASE}/sessions"}, ""),
    "a-query": ({"method": "GET", "path": f"{BASE}/logins?after=%2F&limit=1"}, ""),
    "beyond-ascii": ({"method": "PUT", "path": f"{BASE}/report"}, '{"os":"bläu"}'),
    "a-project-with-dots": ({"authority": "a.b_c-D"}, "{}"),
}


def signed(facts, body):
    """Return the message: keys sorted, no blanks, ASCII."""
    whole = {**facts, "body": hashlib.sha256(body.encode()).hexdigest()}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    vectors = []
    for name, (changes, body) in REQUESTS.items():
        facts = USUAL | changes
        vectors.append({"name": name, **facts, "body": body, "message": signed(facts, body)})
    (TARGET / "messages.json").write_text(json.dumps(vectors, indent=2) + "\n")
