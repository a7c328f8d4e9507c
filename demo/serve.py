"""`make serve`: an embedded server for development, which keeps its data between runs."""

import os
import sys
from pathlib import Path

from demo.machine import ADMINISTRATOR, PROJECT, Failed, Machine, free_port

FOLDER = Path(".cache/serve")
PORT = 8322

NEXT = """\
Tatu serves {url}; its data is in {folder}. Stop it with Ctrl-C. In another terminal:

  export PATH={bin}:$PATH
  tatu login --url {url} --user {user} --project {project} --key {key}
  tatu ca show
  tatu usercert create
"""


def main() -> int:  # noqa: RET503 (its end is the server's)
    """Prepare the folder, say what to try, and become the server."""
    port = int(os.environ.get("PORT", PORT))
    machine = Machine(folder=FOLDER.resolve(), api_port=port or free_port())
    try:
        machine.prepare()
    except Failed as error:
        sys.stderr.write(f"make serve: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    commands = Path(sys.executable).parent
    sys.stdout.write(
        NEXT.format(
            url=machine.url,
            folder=FOLDER,
            bin=commands,
            user=ADMINISTRATOR,
            project=PROJECT,
            key=machine.admin_key,
        )
    )
    sys.stdout.flush()
    server = ["tatu-api", "--config-file", str(machine.config)]
    os.execv(commands / "tatu-api", server)  # noqa: S606 (Ctrl-C shall reach the server itself)


if __name__ == "__main__":
    sys.exit(main())
