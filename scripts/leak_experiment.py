#!/usr/bin/env python
"""Measure the value of a leak."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("leak"))
