#!/usr/bin/env python
"""Draw the pictures that the dataset card shows, from a folder of archives."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("figures"))
