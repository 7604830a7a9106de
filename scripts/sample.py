#!/usr/bin/env python
"""Make synthetic tiles and masks in archives: a stand-in for the dataset in tests, benchmarks and examples."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("sample"))
