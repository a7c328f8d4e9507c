"""Finding a driver by the name that the operator wrote.

Drivers are entry points, ours as much as anyone's: group `tatu.<port>`, the driver's name, and an
object of class `Driver`.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from oslo_config import cfg

from tatu.core.errors import Malformed

PORTS = ("events", "identity", "inventory", "keystore")

P = TypeVar("P")


def _nothing(conf: cfg.ConfigOpts) -> None:
    """Prepare nothing."""


@dataclass(frozen=True, kw_only=True)
class Driver(Generic[P]):
    """One way to fill a port.

    `section` of the configuration holds its `options`. `build` gets that section, and every port
    that it names as a keyword: `build(options, *, secrets, randomness)`. A library that reads
    sections of its own is handed all as the port `conf`; `prepare` registers them before the
    configuration is searched for what nobody reads, when the driver's own options can be read
    already. It may raise `Malformed`, and opens nothing.
    """

    section: str
    options: Sequence[cfg.Opt]
    build: Callable[..., P]
    prepare: Callable[[cfg.ConfigOpts], None] = _nothing


def find(port: str, name: str) -> Driver[Any]:
    """Return a driver; raises `Malformed`, with the names there are or the library it lacks."""
    for entry in _entries(port):
        if entry.name == name:
            try:
                driver: Driver[Any] = entry.load()
            except ModuleNotFoundError as error:
                raise Malformed(
                    f"[{port}] driver = {name} needs {error.name}, which is not installed"
                ) from error
            return driver
    known = ", ".join(entry.name for entry in _entries(port))
    raise Malformed(f"[{port}] driver = {name}: there is no such driver, only {known}")


def register(driver: Driver[Any], conf: cfg.ConfigOpts) -> None:
    """Let the configuration know what the driver and its library read. Raises `Malformed`."""
    conf.register_group(cfg.OptGroup(driver.section))  # also for a driver without options
    conf.register_opts(driver.options, group=driver.section)
    try:
        for option in driver.options:  # a value is only looked at when it is read
            conf[driver.section][option.dest]
    except (cfg.Error, ValueError) as error:
        raise Malformed(f"the configuration is wrong: {error}") from error
    with _reading():
        driver.prepare(conf)


def build(driver: Driver[P], conf: cfg.ConfigOpts, ports: Mapping[str, object]) -> P:
    """Build a driver with the ports that it names, and no others.

    Raises `Malformed` for an option whose value is wrong, and what the driver raises.
    """
    named = [
        parameter.name
        for parameter in inspect.signature(driver.build).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    with _reading():
        return driver.build(conf[driver.section], **{name: ports[name] for name in named})


def list_opts() -> Iterator[tuple[str, Sequence[cfg.Opt]]]:
    """Return the options of every driver that is installed (entry point `oslo.config.opts`)."""
    for port in PORTS:
        for entry in _entries(port):
            try:
                driver = entry.load()
            except ModuleNotFoundError:  # its library is not installed: it is not in use
                continue
            yield driver.section, driver.options


@contextmanager
def _reading() -> Iterator[None]:
    """Say of an option with a wrong value, which oslo.config tells of when it is read."""
    try:
        yield
    except cfg.Error as error:
        raise Malformed(f"the configuration is wrong: {error}") from error


def _entries(port: str) -> Sequence[EntryPoint]:
    return _installed()[port]


@cache
def _installed() -> Mapping[str, Sequence[EntryPoint]]:
    """Return the drivers of each port: looking through all that is installed takes long."""
    found = entry_points()
    return {
        port: sorted(found.select(group=f"tatu.{port}"), key=lambda entry: entry.name)
        for port in PORTS
    }
