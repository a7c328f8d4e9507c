"""The PAM hook of sudo, `sudo_hook.py PROGRAM ROOT GROUP`: loads the agent and has it decide."""

import os
import sys

if __name__ == "__main__":
    sys.path.insert(0, sys.argv[1])
    from tatu.agent import sudo

    code = sudo.main(sys.argv[2:])
    sys.stdout.flush()
    os._exit(code)  # somebody waits: nothing is put away
