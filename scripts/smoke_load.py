#!/usr/bin/env python
"""Load every config and split as a user would, whole and streaming, and check the examples."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("smoke-load"))
