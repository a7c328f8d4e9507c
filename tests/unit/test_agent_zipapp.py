import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tatu import agentfile
from tatu.agent import VERSION

ROOT = Path(__file__).parents[2]


def test_the_agent_is_one_file_that_needs_the_standard_library_alone(tmp_path):
    packed = tmp_path / "tatu-agent"
    agentfile.write(packed)
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


def test_the_same_sources_make_the_same_file_wherever_they_are_packed(tmp_path):
    target = tmp_path / "packed"
    subprocess.run(
        ["python3", "-S", "-m", "tatu.agentfile", target],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=True,
    )
    assert agentfile.packed() == target.read_bytes()
    assert target.stat().st_mode & 0o111 == 0o111
