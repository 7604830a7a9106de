#!/usr/bin/env python
"""Load every config and split as a user would, and check the examples."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Import from this clone. Scripts must not hide libraries of the same name.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from rock_glacier.cli import main

    sys.exit(main(["smoke-load", *sys.argv[1:]]))
