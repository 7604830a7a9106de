#!/usr/bin/env python
"""Publish a staged folder on the Hub, load it back and compare."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("upload"))
