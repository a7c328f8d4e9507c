"""Make `enrolment/`: tokens, and what both sides of an enrolment must compute alike.

The core's functions and the agent's are both tested on these files. Written here without either, by
hashlib and json alone. Run as `python -m tests.vectors.make_enrolments`: the files are the same each time.
"""

import hashlib
import hmac
import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

from tests.vectors.make_statements import CURRENT, HOST, NEXT

TARGET = Path(__file__).parent / "enrolment"
SECRET = bytes(range(32))
NONCE = "5a" * 32
URL = "https://tatu.example:7780"


def trust(lines):
    text = "".join(line + "\n" for line in sorted(lines))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


FACTS = {
    "url": URL,
    "authority": "blue",
    "host": "db-1",
    "secret": b64encode(SECRET).decode(),
    "trust": trust([CURRENT, NEXT]),
}


def word(body: bytes) -> str:
    return "tatu-enrol-1." + urlsafe_b64encode(body).decode().rstrip("=")


def token(facts) -> str:
    return word(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode())


TOKENS = {
    "usual": token(FACTS),
    "text-beyond-ascii": token(FACTS | {"authority": "bläu"}),
    "nothing": "",
    "prefix-alone": "tatu-enrol-1.",
    "another-version": token(FACTS).replace("enrol-1", "enrol-2"),
    "cut": token(FACTS)[:-7],
    "blank-inside": token(FACTS)[:40] + " " + token(FACTS)[40:],
    "too-long": token(FACTS | {"url": URL + "/" + "a" * 4096}),
    "a-list": token([FACTS]),
    "not-json": word(b"{url"),
    "not-utf-8": word(b'"\xff"'),
    "deep": word(b"[" * 2900),
    "secret-not-base64": token(FACTS | {"secret": "?"}),
    **{f"without-{name}": token({n: v for n, v in FACTS.items() if n != name}) for name in FACTS},
    **{f"{name}-a-number": token(FACTS | {name: 7}) for name in FACTS},
}
GOOD = {"usual": FACTS, "text-beyond-ascii": FACTS | {"authority": "bläu"}}

MESSAGES = {
    "one-key": [HOST],
    "two-keys-in-their-order": [HOST, CURRENT],
}


def computed(keys):
    facts = {
        "authority": "blue",
        "deployment": URL,
        "host": "db-1",
        "host_keys": keys,
        "nonce": NONCE,
    }
    message = json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()
    answer = '{"host":"db-1"}'
    signed = b"answer\0" + NONCE.encode() + b"\0" + answer.encode()
    return {
        **facts,
        "secret": SECRET.hex(),
        "message": message.decode(),
        "request_mac": hmac.digest(SECRET, b"request\0" + message, "sha256").hex(),
        "answer": answer,
        "answer_mac": hmac.digest(SECRET, signed, "sha256").hex(),
        "trust": trust(keys),
    }


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for name, vectors in (
        ("tokens", [{"name": n, "token": t, "expect": GOOD.get(n)} for n, t in TOKENS.items()]),
        ("messages", [{"name": n, **computed(keys)} for n, keys in MESSAGES.items()]),
    ):
        (TARGET / f"{name}.json").write_text(json.dumps(vectors, indent=2) + "\n")
