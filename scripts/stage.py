#!/usr/bin/env python
"""Write the folders of the Hub repository, one for each branch."""

import sys

from rock_glacier.cli import run_script

if __name__ == "__main__":
    sys.exit(run_script("stage"))
