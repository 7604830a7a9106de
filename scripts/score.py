#!/usr/bin/env python
"""Score predictions: metrics with intervals, and the confusion matrix."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("evaluate"))
