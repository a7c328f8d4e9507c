"""`make serve`: an embedded server for development, which keeps its data between runs."""

import os
import socket
import sys
import textwrap
from pathlib import Path

from demo.machine import ADMINISTRATOR, PROJECT, Failed, Machine, free_port

FOLDER = Path(".cache/serve")
PORT = 8322

COMMANDS = """\
export PATH={bin}:$PATH
tatu login --url {url} --user {user} --project {project} --key {key}
tatu ca show
tatu usercert create                            # for a key of its own, in ~/.local/state/tatu
make deb                                        # build/tatu-agent_*.deb: install it on the host
tatu token create web-1 --address 192.0.2.10    # what a host enrols with
sudo tatu-agent enrol --token-file -            # on that host
tatu ssh admin@web-1
tatu usercert revoke 1 --reason "rotated"
"""

NEXT = """\
Tatu serves {url}; its data is in {folder}. Stop it with Ctrl-C. In another terminal:

{commands}
The agent makes the accounts, and takes over none. Hosts without dpkg: docs/operations/hosts.md
"""


def main() -> int:  # noqa: RET503 (its end is the server's)
    """Prepare the folder, say what to try, and become the server."""
    port = int(os.environ.get("PORT", PORT)) or free_port()
    machine = Machine(folder=FOLDER.resolve(), api_port=port, watch_port=free_port())
    try:
        check_free(port)
        machine.prepare()
    except Failed as error:
        sys.stderr.write(f"make serve: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    programs = Path(sys.executable).parent
    commands = COMMANDS.format(
        bin=programs,
        url=machine.url,
        user=ADMINISTRATOR,
        project=PROJECT,
        key=machine.admin_key,
    )
    shown = textwrap.indent(commands, "  ")
    sys.stdout.write(NEXT.format(url=machine.url, folder=FOLDER, commands=shown))
    sys.stdout.flush()
    server = ["tatu-api", "--config-file", str(machine.config)]
    os.execv(programs / "tatu-api", server)  # noqa: S606 (Ctrl-C shall reach the server itself)


def check_free(port: int) -> None:
    """Raise `Failed` when another program listens on the port, before anything is promised."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise Failed(
                f"port {port}: {error.strerror}; choose another: make serve PORT=9000"
            ) from error


if __name__ == "__main__":
    sys.exit(main())
