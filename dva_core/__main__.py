"""`python -m dva_core`."""

import sys

from .commands.main import main

sys.exit(main())
