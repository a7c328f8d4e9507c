"""The SSH wire types of RFC 4251, section 5: only those that keys, certificates and KRLs need."""

from tatu.core.errors import Malformed


def _unsigned(value: int, size: int) -> bytes:
    if not 0 <= value < 1 << 8 * size:
        raise ValueError(f"{value} does not fit into {8 * size} unsigned bits")
    return value.to_bytes(size, "big")


def uint8(value: int) -> bytes:
    """Encode a byte; raises ValueError when it does not fit."""
    return _unsigned(value, 1)


def uint32(value: int) -> bytes:
    """Encode an unsigned 32-bit integer; raises ValueError when it does not fit."""
    return _unsigned(value, 4)


def uint64(value: int) -> bytes:
    """Encode an unsigned 64-bit integer; raises ValueError when it does not fit."""
    return _unsigned(value, 8)


def string(value: bytes | str) -> bytes:
    """Encode a byte string with its length before it; text goes as UTF-8."""
    data = value.encode() if isinstance(value, str) else value
    return uint32(len(data)) + data


def mpint(value: int) -> bytes:
    """Encode an integer that is not negative, in its shortest form.

    Raises ValueError for a negative one.
    """
    if value < 0:
        raise ValueError("a negative mpint means nothing here")
    # One bit more than the number has: the top bit is the sign, and must be clear.
    return string(value.to_bytes((value.bit_length() + 8) // 8 if value else 0, "big"))


class Reader:
    """Reads wire types off the front of some bytes.

    Every method raises Malformed, naming `what` is read and at which byte, when the bytes are
    not what is asked for.
    """

    def __init__(self, data: bytes, what: str = "the data") -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def remaining(self) -> int:
        """How many bytes are not yet read."""
        return len(self._data) - self._at

    def raw(self, length: int) -> bytes:
        """Read just so many bytes."""
        start, end = self._at, self._at + length
        if end > len(self._data):
            raise self._malformed(f"{length} bytes expected, {self.remaining} left")
        self._at = end
        return self._data[start:end]

    def uint8(self) -> int:
        """Read a byte."""
        return int.from_bytes(self.raw(1), "big")

    def uint32(self) -> int:
        """Read an unsigned 32-bit integer."""
        return int.from_bytes(self.raw(4), "big")

    def uint64(self) -> int:
        """Read an unsigned 64-bit integer."""
        return int.from_bytes(self.raw(8), "big")

    def string(self) -> bytes:
        """Read a byte string with its length before it."""
        return self.raw(self.uint32())

    def text(self) -> str:
        """Read a string that is UTF-8, with nothing overlong and no surrogates."""
        data = self.string()
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self._malformed("the string before is not UTF-8") from error

    def mpint(self) -> int:
        """Read an integer that is not negative and in its one shortest form."""
        data = self.string()
        if data[:1] >= b"\x80":
            raise self._malformed("the number before is negative")
        if data[:1] == b"\0" and data[1:2] < b"\x80":
            raise self._malformed("the number before has a needless leading zero")
        return int.from_bytes(data, "big")

    def rest(self) -> bytes:
        """Read all that is left."""
        return self.raw(self.remaining)

    def end(self) -> None:
        """Make sure that nothing is left."""
        if self.remaining:
            raise self._malformed(f"{self.remaining} bytes too many")

    def _malformed(self, problem: str) -> Malformed:
        return Malformed(f"{self._what} is malformed at byte {self._at}: {problem}")
