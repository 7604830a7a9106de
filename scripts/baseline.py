#!/usr/bin/env python
"""Train plain models, and write their predictions."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("baseline"))
