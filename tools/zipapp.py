"""Build the host agent as one executable file."""

from pathlib import Path

from tatu import agentfile


def build(source: Path, target: Path) -> None:
    """Pack the agent into `target`."""
    agentfile.write(target)
