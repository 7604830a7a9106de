#!/usr/bin/env python
"""Build archives, in splits that share no ground, from folders of tiles and masks or from archives."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("build"))
