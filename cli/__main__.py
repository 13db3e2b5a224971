"""`python -m cli`: the `x3fleet` command of a checkout. Not here: anything else."""

import sys

from cli.main import main

sys.exit(main())
