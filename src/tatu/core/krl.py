"""Key revocation lists as sshd reads them (PROTOCOL.krl), written and read.

`ssh-keygen -k` can write lists that every sshd refuses, and with them every login: its bitmaps may
span any number of serials, and none over 16,384 bits can be read. So we encode ourselves.
"""

import hashlib
import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from itertools import compress
from operator import sub
from typing import Self

from tatu.core import wire
from tatu.core.errors import Malformed
from tatu.core.keys import PublicKey, shown

MAX_SIZE = 16 * 2**20
"""Bytes of a list that we read; sshd spends a second on each login long before."""
MAX_RUNS = 2_000_000
"""Runs of serials that we read: bitmaps of few bytes can hold many."""
MAX_BITMAP_BITS = 16_384
"""What sshd's reader takes as one number (SSHBUF_MAX_BIGNUM)."""
MAX_SERIAL = 2**64 - 1

_MAGIC = b"SSHKRL\n\0"
_FORMAT = 1
_HASH_SIZE = hashlib.sha256().digest_size
_ONES = re.compile("1+")


class _Section(IntEnum):
    """The kinds of section in a list."""

    CERTIFICATES = 1
    EXPLICIT_KEY = 2
    FINGERPRINT_SHA1 = 3
    SIGNATURE = 4
    FINGERPRINT_SHA256 = 5
    EXTENSION = 255


class _Certificates(IntEnum):
    """The kinds of section inside a certificates section."""

    LIST = 0x20
    RANGE = 0x21
    BITMAP = 0x22
    KEY_ID = 0x23
    EXTENSION = 0x39


@dataclass(frozen=True)
class Serials:
    """A set of serials as runs: the first and the last serial of each, ascending, never touching.

    `of` and `of_runs` make it; they raise ValueError on serial 0 (sshd takes it as "no serial"
    and never revokes it) and on what is no uint64.
    """

    firsts: tuple[int, ...]
    lasts: tuple[int, ...]

    @classmethod
    def of(cls, serials: Iterable[int]) -> Self:
        """Return the set of these serials; order and repetition do not matter."""
        ordered = sorted(serials)
        if ordered and not 0 < ordered[0] <= ordered[-1] <= MAX_SERIAL:
            raise ValueError("a serial is from 1 to 2^64 - 1")
        breaks = [step > 1 for step in map(sub, ordered[1:], ordered)]
        return cls(
            (*ordered[:1], *compress(ordered[1:], breaks)),
            (*compress(ordered, breaks), *ordered[-1:]),
        )

    @classmethod
    def of_runs(cls, runs: Iterable[tuple[int, int]]) -> Self:
        """Return the set of all serials in these runs (first, last), which may overlap."""
        firsts: list[int] = []
        lasts: list[int] = []
        for first, last in sorted(runs):
            if not 0 < first <= last <= MAX_SERIAL:
                raise ValueError("a run of serials goes up, from 1 to 2^64 - 1")
            if lasts and first <= lasts[-1] + 1:
                lasts[-1] = max(lasts[-1], last)
            else:
                firsts.append(first)
                lasts.append(last)
        return cls(tuple(firsts), tuple(lasts))

    @property
    def runs(self) -> Iterator[tuple[int, int]]:
        """The first and the last serial of each run."""
        return zip(self.firsts, self.lasts, strict=True)

    def __contains__(self, serial: int) -> bool:
        """Say whether the serial is in one of the runs."""
        at = bisect_right(self.firsts, serial) - 1
        return at >= 0 and serial <= self.lasts[at]

    def __len__(self) -> int:
        """Count the serials."""
        return sum(self.lasts) - sum(self.firsts) + len(self.firsts)


@dataclass(frozen=True, kw_only=True)
class Krl:
    """Everything that one list revokes.

    `serials` and `key_ids` belong to the signature key before them. `revoked_key_hashes` are
    SHA-256 of subject key blobs. A key in `whole_authorities` is refused itself, and so is every
    certificate that it signed.
    """

    version: int
    generated_at: datetime
    comment: str
    serials: Mapping[PublicKey, Serials] = field(default_factory=dict)
    key_ids: Mapping[PublicKey, frozenset[str]] = field(default_factory=dict)
    revoked_key_hashes: frozenset[bytes] = frozenset()
    whole_authorities: frozenset[PublicKey] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what sshd would not read back."""
        if not 0 <= self.version <= MAX_SERIAL:
            raise ValueError("a version is a uint64")
        if self.generated_at.tzinfo is None:
            raise ValueError("times know their zone")
        if not self.comment.isprintable():
            raise ValueError("a comment holds no control characters")
        if any("\0" in key_id for ids in self.key_ids.values() for key_id in ids):
            raise ValueError("a key ID holds no NUL")
        if any(len(digest) != _HASH_SIZE for digest in self.revoked_key_hashes):
            raise ValueError("a key hash is a SHA-256")


def encode(krl: Krl) -> bytes:
    """Return the list's bytes: the same for the same list, in the fewest sections that pay."""
    parts = [
        _MAGIC,
        wire.uint32(_FORMAT),
        wire.uint64(krl.version),
        wire.uint64(int(krl.generated_at.timestamp())),
        wire.uint64(0),
        wire.string(b""),
        wire.string(krl.comment),
    ]
    for key in sorted({*krl.serials, *krl.key_ids}, key=lambda key: key.blob):
        revoked = krl.serials.get(key, Serials((), ()))
        key_ids = krl.key_ids.get(key, frozenset())
        if revoked.firsts or key_ids:
            inner = [wire.string(key.blob), wire.string(b""), *_serial_sections(revoked)]
            if key_ids:
                inner.append(_section(_Certificates.KEY_ID, map(wire.string, sorted(key_ids))))
            parts.append(_section(_Section.CERTIFICATES, inner))
    if krl.whole_authorities:
        blobs = sorted(key.blob for key in krl.whole_authorities)
        parts.append(_section(_Section.EXPLICIT_KEY, map(wire.string, blobs)))
    if krl.revoked_key_hashes:
        hashes = sorted(krl.revoked_key_hashes)
        parts.append(_section(_Section.FINGERPRINT_SHA256, map(wire.string, hashes)))
    return b"".join(parts)


def _section(kind: IntEnum, parts: Iterable[bytes]) -> bytes:
    return wire.uint8(kind) + wire.string(b"".join(parts))


# Costs in bits. A section has 5 bytes around it; all serials that are listed share one.
_LISTED = 8 * 8
_RANGE = 8 * (5 + 8 + 8)
_BITMAP = 8 * (5 + 8 + 4)
_NEVER = 2**70  # more than any list costs


def _serial_sections(serials: Serials) -> Iterator[bytes]:
    """Yield ranges and bitmaps in order, then one list of what is left: the smallest choice.

    Each run opens a bitmap, joins the bitmap of the run before it, or stands alone (as range or in
    the list). `_joined` finds the cheapest choice for all runs together. A bitmap wider than sshd
    reads is cut, and a piece that is smaller without its bitmap loses it. So the sum is the least
    possible, but for the rounding to whole bytes, the cuts, and the 5 bytes around the list.
    """
    joined = _joined(serials)
    listed: list[int] = []
    begin = 0
    while begin < len(joined):
        end = joined.find(0, begin + 1) % (len(joined) + 1)  # -1, for none, becomes the length
        if end > begin + 1:
            wide = serials.firsts[begin] + MAX_BITMAP_BITS
            end = max(begin + 1, bisect_left(serials.lasts, wide, begin, end))
        if end == begin + 1 and serials.firsts[begin] == serials.lasts[begin]:
            listed.append(serials.firsts[begin])  # what sparse lists are made of
        else:
            yield from _smallest(serials.firsts[begin:end], serials.lasts[begin:end], listed)
        begin = end
    if listed:
        yield _section(_Certificates.LIST, map(wire.uint64, listed))


def _joined(serials: Serials) -> bytearray:
    """Return 1 for each run that is cheapest in one bitmap with the run before it, else 0.

    A shortest path with two states: the least cost of all runs so far when the last of them stands
    alone, and when it is in a bitmap, which the next may join for the bits up to its end. While
    the bitmap is the cheaper state and the steps are no longer than a listed serial, it stays so:
    such runs are passed in one leap.
    """
    firsts, lasts = serials.firsts, serials.lasts
    far = [at for at, step in enumerate(map(sub, lasts[1:], lasts), 1) if step > _LISTED]
    leaps = iter((*far, len(lasts)))
    leap = next(leaps)
    joins = bytearray(b"\1" * len(lasts))
    before = bytearray(b"\1" * len(lasts))  # was the run before cheaper in a bitmap?
    alone, bitmapped, end, at = 0, _NEVER, 0, 0
    while at < len(lasts):
        length = lasts[at] - firsts[at] + 1
        before[at] = bitmapped <= alone
        least = min(bitmapped, alone)
        join, open_ = bitmapped + lasts[at] - end, least + _BITMAP + length
        joins[at] = join < open_
        alone, bitmapped, end = least + _alone(length), min(join, open_), lasts[at]
        at += 1
        while leap < at:
            leap = next(leaps)
        if leap > at and bitmapped <= alone:
            at = leap
            alone = bitmapped + lasts[at - 2] - end + _alone(lasts[at - 1] - firsts[at - 1] + 1)
            bitmapped += lasts[at - 1] - end
            end = lasts[at - 1]
    cheaper = bitmapped <= alone
    for at in range(len(joins) - 1, -1, -1):
        joins[at] &= cheaper
        cheaper = bool(joins[at] or before[at])
    return joins


def _alone(length: int) -> int:
    return min(_LISTED * length, _RANGE)


def _smallest(
    firsts: tuple[int, ...], lasts: tuple[int, ...], listed: list[int]
) -> Iterator[bytes]:
    """Yield one bitmap, or ranges where that is no smaller, and add what is short to `listed`."""
    start, end = firsts[0], lasts[-1]
    span = end - start + 1
    # the top bit is set: where it would be a sign, a byte stands before it (RFC 4251, section 5)
    size = _BITMAP + 8 * (span // 8 + 1)
    lengths = (last - first + 1 for first, last in zip(firsts, lasts, strict=True))
    if span <= MAX_BITMAP_BITS and (
        size < _LISTED * len(firsts)  # a first look, which most often is enough
        or size < sum(map(_alone, lengths))
    ):
        # each run is 2^(last + 1) - 2^first
        bits = (_powers(lasts, start, end) << 1) - _powers(firsts, start, end)
        yield _section(_Certificates.BITMAP, (wire.uint64(start), wire.mpint(bits)))
        return
    for first, last in zip(firsts, lasts, strict=True):
        if _LISTED * (last - first + 1) < _RANGE:
            listed.extend(range(first, last + 1))
        else:
            yield _section(_Certificates.RANGE, (wire.uint64(first), wire.uint64(last)))


def _powers(marks: Iterable[int], start: int, end: int) -> int:
    """Return the sum of 2^(mark - start); by way of digits, which takes linear time."""
    digits = bytearray(b"0" * (end - start + 1))
    for mark in marks:
        digits[end - mark] = 0x31
    return int(digits, 2)


@dataclass
class _Found:
    """What the sections said so far."""

    runs: defaultdict[PublicKey, list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    key_ids: defaultdict[PublicKey, set[str]] = field(default_factory=lambda: defaultdict(set))
    keys: set[PublicKey] = field(default_factory=set)
    hashes: set[bytes] = field(default_factory=set)


def decode(data: bytes) -> Krl:
    """Read a whole list, or raise `Malformed`.

    What we cannot honour is refused, never passed over: SHA-1 hashes, revocations for every
    authority at once, signatures inside the list (sshd refuses them since 9.4), unknown sections
    and critical extensions.
    """
    if len(data) > MAX_SIZE:
        raise Malformed(f"the list is over {MAX_SIZE} bytes")
    if not data.startswith(_MAGIC):
        raise Malformed("this is no key revocation list")
    reader = wire.Reader(data[len(_MAGIC) :], "the list")
    if reader.uint32() != _FORMAT:
        raise Malformed("the list has an unknown format version")
    version, generated, _flags = reader.uint64(), reader.uint64(), reader.uint64()
    reader.string()  # reserved
    comment = reader.text()
    found = _Found()
    while reader.remaining:
        _read_section(reader.uint8(), wire.Reader(reader.string(), "a section of the list"), found)
    try:
        return Krl(
            version=version,
            generated_at=datetime.fromtimestamp(generated, UTC),
            comment=comment,
            serials={key: Serials.of_runs(runs) for key, runs in found.runs.items() if runs},
            key_ids={key: frozenset(ids) for key, ids in found.key_ids.items() if ids},
            revoked_key_hashes=frozenset(found.hashes),
            whole_authorities=frozenset(found.keys),
        )
    except (ValueError, OverflowError, OSError) as error:
        raise Malformed(f"the list says what it may not: {error}") from error


def _read_section(kind: int, body: wire.Reader, found: _Found) -> None:
    match kind:
        case _Section.CERTIFICATES:
            key = PublicKey.from_blob(body.string())
            body.string()  # reserved
            while body.remaining:
                inner = body.uint8(), wire.Reader(body.string(), "a certificates section")
                _read_certificates(*inner, found.runs[key], found.key_ids[key])
        case _Section.EXPLICIT_KEY:
            while body.remaining:
                found.keys.add(PublicKey.from_blob(body.string()))
        case _Section.FINGERPRINT_SHA256:
            while body.remaining:
                found.hashes.add(body.string())
        case _Section.EXTENSION:
            _pass_extension(body)
        case _Section.FINGERPRINT_SHA1 | _Section.SIGNATURE:
            raise Malformed("the list holds SHA-1 hashes or its own signature")
        case _:
            raise Malformed(f"the list holds an unknown section {kind}")


def _read_certificates(
    kind: int, body: wire.Reader, runs: list[tuple[int, int]], key_ids: set[str]
) -> None:
    match kind:
        case _Certificates.LIST:
            while body.remaining:
                serial = body.uint64()
                runs.append((serial, serial))
        case _Certificates.RANGE:
            runs.append((body.uint64(), body.uint64()))
        case _Certificates.BITMAP:
            runs.extend(_bitmap_runs(start=body.uint64(), bits=body.mpint()))
        case _Certificates.KEY_ID:
            while body.remaining:
                key_ids.add(body.text())
        case _Certificates.EXTENSION:
            _pass_extension(body)
        case _:
            raise Malformed(f"the list holds an unknown certificates section {kind}")
    body.end()
    if len(runs) > MAX_RUNS:
        raise Malformed(f"the list holds over {MAX_RUNS} runs of serials for one key")


def _bitmap_runs(*, start: int, bits: int) -> Iterator[tuple[int, int]]:
    if bits.bit_length() > MAX_BITMAP_BITS:
        raise Malformed(f"a bitmap is over {MAX_BITMAP_BITS} bits: sshd refuses the list")
    for ones in _ONES.finditer(f"{bits:b}"[::-1]):
        yield start + ones.start(), start + ones.end() - 1


def _pass_extension(body: wire.Reader) -> None:
    """Read over an extension, unless it is critical (its boolean is anything but 0)."""
    name = body.text()
    if body.uint8():
        raise Malformed(f"the list holds an unknown critical extension {shown(name)}")
    body.string()
    body.end()
