"""sshd's hook for the break-glass account, `breakglass_hook.py PROGRAM ACCOUNT TYPE BASE64`."""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from tatu.agent import breakglass

    code = breakglass.main(sys.argv[2:])
    sys.stdout.flush()
    os._exit(code)  # somebody waits: nothing is put away
