"""`python -m tatu.cli`."""

import sys

from tatu.cli.main import main

sys.exit(main())
