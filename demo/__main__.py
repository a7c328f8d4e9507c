"""`make demo`: from nothing to a login, and to its end, with each step in plain words."""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from demo.machine import ADMINISTRATOR, PROJECT, Failed, Machine, account, free_port, tail

HOST = "instance-1"
PRINCIPAL = "admin"
WIDTH = 84


class Story:
    """Tells each step, and how long it took."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Tell one step."""
        sys.stdout.write(f"  {text} ")
        sys.stdout.flush()
        began = time.monotonic()
        try:
            yield
        except BaseException:
            sys.stdout.write("FAILED\n")
            raise
        dots = "." * max(3, WIDTH - len(text))
        sys.stdout.write(f"{dots} {time.monotonic() - began:5.2f} s\n")
        sys.stdout.flush()

    def show(self, text: str) -> None:
        """Show what a program printed."""
        sys.stdout.write("".join(f"      {line}\n" for line in text.strip().splitlines()))

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._began


def ssh(machine: Machine, port: int, *command: str, fails: bool = False) -> str:
    """Log in with plain ssh, which asks nothing and trusts only what Tatu vouches for."""
    (state,) = (machine.folder / "home/.local/state/tatu").glob("*/id_ed25519")
    return machine.run(
        "ssh",
        *("-F", "none"),
        *("-p", str(port)),
        *("-o", "BatchMode=yes"),
        *("-o", "StrictHostKeyChecking=yes"),
        *("-o", f"UserKnownHostsFile={machine.folder}/known_hosts"),
        *("-o", f"HostKeyAlias={HOST}"),
        *("-o", "IdentitiesOnly=yes"),
        *("-o", "IdentityAgent=none"),
        *("-i", str(state)),
        *("-o", f"CertificateFile={state}-cert.pub"),
        f"{account()}@127.0.0.1",
        *command,
        fails=fails,
    )


def agent(machine: Machine, *words: str, text: str = "") -> str:
    """Run the host agent on the instance."""
    return machine.run(
        sys.executable,
        *("-m", "tatu.agent"),
        *words,
        *("--root", str(machine.folder)),
        *("--reload-command", f"pkill -HUP -F {machine.folder}/sshd.pid"),
        text=text,
    )


def journey(machine: Machine, story: Story, running: ExitStack) -> None:
    """Walk the whole way; raises `Failed` at the first step that goes wrong."""
    port = free_port()
    with story.step("Make Tatu's database and keys, a project and its first administrator"):
        machine.prepare()
    with story.step("Start Tatu on SQLite"):
        running.enter_context(machine.api())
    with story.step("Start a stock sshd as the instance; it knows nobody yet"):
        running.enter_context(machine.sshd(port, PRINCIPAL))
    with story.step("Sign the user in by SSH key: the key signs a challenge"):
        machine.run(
            *("tatu", "login", "--url", machine.url),
            *("--user", ADMINISTRATOR, "--project", PROJECT, "--key", str(machine.admin_key)),
        )
    with story.step("Make a one-time token for the instance"):
        token = machine.run(
            *("tatu", "token", "create", HOST, "--address", "127.0.0.1"),
            *("--format", "value", "--column", "token"),
        )
    with story.step("Enrol the instance: it proves its key, gets a host certificate, obeys"):
        agent(machine, "enrol", "--token-file", "-", text=token)
    with story.step("Learn how to recognise the project's hosts"):
        (machine.folder / "known_hosts").write_text(machine.run("tatu", "known-hosts"))
    with story.step("Issue a user certificate for an hour"):
        serial = machine.run(
            *("tatu", "usercert", "create", "--validity", "3600"),
            *("--format", "value", "--column", "serial"),
        ).strip()
    with story.step("Log in with ssh, StrictHostKeyChecking=yes, no question asked"):
        said = ssh(machine, port, f"echo logged in as $(id -un) by certificate {serial}")
    story.show(said)
    with story.step("Revoke the certificate"):
        machine.run("tatu", "usercert", "revoke", serial, "--reason", "the demonstration ends")
    with story.step("The instance fetches the signed statement and the revocation list"):
        agent(machine, "sync")
    with story.step("Try to log in again: sshd refuses (as it should)"):
        said = ssh(machine, port, "true", fails=True)
        if "Permission denied" not in said:
            raise Failed(f"ssh failed otherwise than it should:\n{said}")
    story.show(said)
    log = (machine.folder / "sshd.log").read_text(errors="replace")
    story.show(next((line for line in log.splitlines() if "revoked by file" in line), ""))


def main() -> int:
    """Run the demonstration in a scratch folder and clean up."""
    story = Story()
    folder = Path(tempfile.mkdtemp(prefix="tatu-demo-"))
    sys.stdout.write(f"Tatu, from a public key to a login (in {folder})\n")
    try:
        with ExitStack() as running:
            machine = Machine(folder=folder, api_port=free_port())
            journey(machine, story, running)
            with story.step("Stop everything and clean up"):
                running.close()
    except Failed as error:
        sys.stderr.write(f"\nmake demo: {error}\n")
        for log in sorted(folder.glob("*.log")):
            sys.stderr.write(f"\nthe end of {log.name}:\n{tail(log)}\n")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(f"Done in {story.seconds:.1f} s.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
