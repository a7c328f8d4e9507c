"""What is installed beside the code says what is true: units, man pages."""

import argparse
import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tatu import serve, watch, worker
from tatu.agent import unit as agent_unit
from tatu.manage import main as manage

ROOT = Path(__file__).parents[2]
MAN = ROOT / "docs/man"
UNITS = sorted((ROOT / "contrib/systemd").glob("tatu-*"))
COMMANDS = ("tatu-api", "tatu-manage", "tatu-watch", "tatu-worker")
SECTIONS = {".service": {"Unit", "Service"}, ".timer": {"Unit", "Timer", "Install"}}
BIN = Path(sys.executable).parent


class Unit(configparser.RawConfigParser):
    """A unit's sections; the last value of an option that stands twice."""

    def __init__(self, path):
        super().__init__(strict=False, interpolation=None)
        self.optionxform = str
        self.read(path)


@pytest.fixture(params=UNITS, ids=lambda path: path.name)
def unit(request):
    return request.param


def test_a_unit_is_one_that_systemd_takes(unit, tmp_path):
    """With the commands of this environment in place of those that a package installs."""
    assert set(Unit(unit).sections()) >= SECTIONS[unit.suffix]
    if shutil.which("systemd-analyze") is None:
        return
    for path in UNITS:
        text = path.read_text().replace("/usr/bin/tatu", f"{BIN}/tatu")
        (tmp_path / path.name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit.name],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_unit_runs_takes_these_words(unit):
    for line in re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE):
        words = shlex.split(line)
        if words[:2] == ["/bin/sh", "-c"]:
            words = shlex.split(words[2].removeprefix("exec "))
        program = BIN / Path(words[0]).name
        assert program.name in COMMANDS
        options = {word for word in words[1:] if word.startswith("--")}
        names = [word for word in words[1:] if re.fullmatch("[a-z]+", word)]
        told = [
            subprocess.run([program, *given, "--help"], check=True, capture_output=True, text=True)
            for given in ([], names)
        ]
        assert all(f"{option} " in told[0].stdout for option in options)


def test_the_pages_that_units_name_are_there(unit):
    for name, section in re.findall(r"man:([\w-]+)\((\d)\)", unit.read_text()):
        assert (MAN / f"{name}.{section}").is_file()


def test_services_are_refused_calls_of_the_system_rather_than_killed(unit):
    if unit.suffix == ".service":
        assert Unit(unit)["Service"]["SystemCallErrorNumber"] == "EPERM"


def test_what_is_away_is_waited_for_and_a_wrong_configuration_is_not_tried_again(tmp_path):
    ours = tmp_path / agent_unit.NAME
    ours.write_text(agent_unit.text("/usr/lib/tatu-agent/tatu-agent", ()))
    kept = [found for found in map(Unit, [*UNITS, ours]) if found.has_option("Service", "Restart")]
    assert len(kept) == 4
    for found in kept:
        assert found["Service"]["RestartPreventExitStatus"] == "2"
        assert found["Unit"]["StartLimitIntervalSec"] == "0"


@pytest.mark.parametrize("door", [serve, watch, worker])
def test_a_wrong_configuration_is_exit_code_2(door, tmp_path, capsys):
    wrong = tmp_path / "tatu.conf"
    wrong.write_text("[DEFAULT]\n")
    for file in (wrong, tmp_path / "absent.conf"):
        assert door.main(["--config-file", str(file)]) == 2
    assert capsys.readouterr().err.count("the configuration is wrong") == 2


def test_the_door_that_anybody_may_ask_is_handed_no_key():
    assert "LoadCredential" in Unit(ROOT / "contrib/systemd/tatu-api.service")["Service"]
    assert "LoadCredential" not in Unit(ROOT / "contrib/systemd/tatu-watch.service")["Service"]


def page(name):
    return (MAN / f"{name}.8").read_text().replace("\\-", "-")


def leaves(parser, words=()):
    """Yield the words of each command with its long options."""
    nested = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    if not nested:
        options = {option for action in parser._actions for option in action.option_strings}
        yield words, {each for each in options if each.startswith("--")} - {"--help"}
    for action in nested:
        for word, below in action.choices.items():
            yield from leaves(below, (*words, word))


def test_the_page_of_tatu_manage_has_every_command_and_option():
    known = list(leaves(manage._parser(list(manage.GROUPS))))
    options = {"--config-file", "--config-dir", "--version", "--help"}
    text = page("tatu-manage")
    for words, its in known:
        assert re.search(rf'^\.B[RI]? "?{" ".join(words)}\b', text, re.MULTILINE), words
        options |= its
    assert set(re.findall(r"--[a-z-]+", text)) == options


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("tatu-api", ()),
        ("tatu-watch", ()),
        ("tatu-worker", ()),
        ("tatu-status", ("upgrade", "check")),
    ],
)
def test_the_page_of_a_program_has_every_option(name, command):
    told = set()
    for words in {(), command}:
        done = subprocess.run(
            [BIN / name, *words, "--help"], check=True, capture_output=True, text=True
        )
        told |= set(re.findall(r"--[a-z_-]+", done.stdout.partition("options:")[2]))
    ours = set(re.findall(r"--[a-z_-]+", page(name)))
    assert told - ours <= {"--help", "--shell_completion", "--nocheck"}  # oslo.config's own
    assert ours <= told


def test_every_program_has_a_page_that_others_lead_to():
    pages = {path.name.removesuffix(".8"): path.read_text() for path in MAN.glob("*.8")}
    programs = {found.name for found in BIN.glob("tatu-*")}
    assert programs <= pages.keys()
    for name in programs:
        assert any(f".BR {name} (8)" in text for other, text in pages.items() if other != name)
