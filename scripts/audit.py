#!/usr/bin/env python
"""Check everything about a folder of archives, and report every fault."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("audit"))
