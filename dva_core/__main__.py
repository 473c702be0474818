"""`python -m dva_core`."""

import sys

from .cli import main

sys.exit(main())
