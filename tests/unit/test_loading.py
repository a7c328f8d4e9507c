"""How a driver is found, what it is given, and what of the configuration it reads."""

from importlib.metadata import EntryPoint

import pytest
from oslo_config import cfg

from tatu.core.errors import Malformed
from tatu.drivers import loading
from tatu.drivers.loading import Driver


@pytest.fixture
def absent(monkeypatch):
    """Install a driver whose library is not there."""
    entry = EntryPoint(name="paper", value="tatu_of_paper:driver", group="tatu.keystore")
    installed = loading._entries
    monkeypatch.setattr(loading, "_entries", lambda port: [*installed(port), entry])


def test_a_driver_gets_its_section_and_the_ports_that_it_names():
    def build(options, *, conf, clock):
        return options.depth, conf, clock

    driver = Driver(section="mine", options=(cfg.IntOpt("depth", default=3),), build=build)
    conf = cfg.ConfigOpts()
    loading.register(driver, conf)
    conf([], default_config_files=[], default_config_dirs=[])
    ports = {"conf": conf, "clock": "a clock", "secrets": None}
    assert loading.build(driver, conf, ports) == (3, conf, "a clock")


def test_a_driver_needs_no_option_of_its_own():
    driver = Driver(section="mine", options=(), build=lambda options: "built")
    conf = cfg.ConfigOpts()
    loading.register(driver, conf)
    conf([], default_config_files=[], default_config_dirs=[])
    assert loading.build(driver, conf, {}) == "built"


def test_what_a_drivers_library_reads_is_registered_after_the_drivers_own_options():
    def prepare(conf):
        conf.register_opt(cfg.IntOpt("width", default=conf.mine.depth), group="codec")

    driver = Driver(
        section="mine",
        options=(cfg.IntOpt("depth", default=3),),
        build=lambda options: options,
        prepare=prepare,
    )
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[], default_config_dirs=[])
    for _ in range(2):  # the doors check the configuration before they build from it
        loading.register(driver, conf)
    assert conf.codec.width == 3


def test_a_value_that_is_wrong_is_told_when_the_driver_reads_it(tmp_path):
    driver = Driver(
        section="mine", options=(cfg.IntOpt("depth"),), build=lambda options: options.depth
    )
    (tmp_path / "a.conf").write_text("[mine]\ndepth = deep\n")
    conf = cfg.ConfigOpts()
    loading.register(driver, conf)
    conf([f"--config-file={tmp_path}/a.conf"])
    with pytest.raises(Malformed, match="depth"):
        loading.build(driver, conf, {})


def test_a_driver_whose_library_is_absent_is_refused_by_the_librarys_name(absent):
    with pytest.raises(Malformed, match="driver = paper needs tatu_of_paper, which is not inst"):
        loading.find("keystore", "paper")


def test_a_driver_whose_library_is_absent_keeps_no_sample_from_being_written(absent):
    sections = [section for section, _ in loading.list_opts()]
    assert {"identity_local", "keystore_local"} <= set(sections)


def test_what_is_installed_is_looked_through_once(monkeypatch):
    looked, real = [], loading.entry_points
    monkeypatch.setattr(loading, "entry_points", lambda: looked.append(1) or real())
    loading._installed.cache_clear()
    for port, name in (("keystore", "local"), ("identity", "keystone"), ("keystore", "castellan")):
        loading.find(port, name)
    assert looked == [1]
