"""`python -m tatu.agent`, and what the zipapp runs."""

import sys

from tatu.agent.main import main

sys.exit(main())
