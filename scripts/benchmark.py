#!/usr/bin/env python
"""Measure speed, memory and bytes moved, against what the machine allows and against the peers."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("benchmark"))
