import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tools import zipapp

from tatu.agent import VERSION

SOURCE = Path(__file__).parents[2] / "src/tatu/agent"


def test_the_agent_is_one_file_that_needs_the_standard_library_alone(tmp_path):
    packed = tmp_path / "tatu-agent"
    zipapp.build(SOURCE, packed)
    command = [sys.executable, "-IS", packed]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tatu-agent {VERSION}\n"
    failed = subprocess.run(
        [*command, "sync", "--root", tmp_path], capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert failed.stderr == "tatu-agent: this host is not enrolled: tatu-agent enrol\n"


def test_the_agent_and_the_distribution_are_of_one_version():
    assert version("tatu") == VERSION


def test_the_same_sources_make_the_same_file(tmp_path):
    for name in ("one", "two"):
        zipapp.build(SOURCE, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
