"""Canonical JSON: one text for each value, so that what is signed or chained can be made again."""

import json

_ENCODER = json.JSONEncoder(
    ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":")
)


def text(value: object) -> str:
    """Write a JSON value in ASCII, keys sorted, no spaces; raises ValueError for NaN."""
    return _ENCODER.encode(value)


def data(value: object) -> bytes:
    """Write a JSON value as the bytes of its canonical text."""
    return _ENCODER.encode(value).encode()
