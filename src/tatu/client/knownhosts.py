"""The known_hosts lines of a project: its host authorities, for its own names and no others."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from tatu.client import files
from tatu.client.resources import Host
from tatu.core import host as names
from tatu.core.errors import Malformed
from tatu.core.keys import PublicKey


def parsed(text: str, *parsers: Callable[[str], str]) -> str | None:
    """Return a name in the one form that ssh compares, or None for what is none.

    A pattern in a host's name would stand for hosts of others.
    """
    for parse in parsers:
        try:
            return parse(text)
        except Malformed:
            continue
    return None


def is_suffix(text: str) -> bool:
    """Say whether a DNS suffix may be one project's: a single label is the whole of a domain."""
    return "." in text and parsed(text, names.name) == text


def aliases(hosts: Iterable[Host], dns_suffix: str) -> dict[str, str]:
    """Return the host id for every id, name and address of these hosts; all are lower-case.

    Names with dots count only inside the authority's DNS suffix (security.md S8).
    """
    known = [(host, parsed(host.id, names.host_id)) for host in hosts]
    # ids first: nobody chooses theirs, and anybody what they are called
    found = {host_id: host_id for _, host_id in known if host_id}
    for host, host_id in known:
        if host_id is None:
            continue
        for text in host.names:
            name = parsed(text, names.name)
            if name and (
                "." not in name or (is_suffix(dns_suffix) and name.endswith(f".{dns_suffix}"))
            ):
                found.setdefault(name, host_id)
        for text in host.addresses:
            if address := parsed(text, names.address):
                found.setdefault(address, host_id)
    return found


def patterns(known: dict[str, str], dns_suffix: str) -> list[str]:
    """Return the host patterns of a project: what `aliases` knows, and all under its suffix."""
    return [*known, *([f"*.{dns_suffix}"] if is_suffix(dns_suffix) else ())]


def lines(hosts: list[str], keys: Iterable[PublicKey], cloud: str) -> str:
    """Return the lines that make ssh accept certificates of these keys for these hosts alone."""
    if not hosts:
        return ""
    return "".join(f"@cert-authority {','.join(hosts)} {key.line} tatu:{cloud}\n" for key in keys)


def install(path: Path, cloud: str, text: str) -> bool:
    """Put the lines into a known_hosts file, between marks; say whether anything changed.

    All else in the file stays as it is.
    """
    return install_block(path, f"# tatu {cloud}: begin", f"# tatu {cloud}: end", text, top=False)


def install_block(path: Path, begin: str, end: str, text: str, *, top: bool) -> bool:
    """Keep one block of a file up to date; raises `Malformed` when its marks are damaged."""
    old = files.read(path) if path.exists() else ""
    block = f"{begin}\n{text}{end}\n"
    if (old.count(f"{begin}\n"), old.count(f"{end}\n")) not in ((0, 0), (1, 1)):
        raise Malformed(f"{path}: `{begin}` and `{end}` do not stand once each: mend it by hand")
    if begin in old:
        expression = re.escape(begin) + r"\n.*?" + re.escape(end) + r"\n"
        new = re.sub(expression, lambda _: block, old, count=1, flags=re.DOTALL)
    elif top:
        new = block + old
    else:
        new = old + ("\n" if old and not old.endswith("\n") else "") + block
    if new == old:
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    target = path.resolve()  # a link into a folder under version control stays one
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    files.write(target, new, mode)
    return True
