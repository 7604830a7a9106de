#!/usr/bin/env python
"""Write the folders of the Hub repository, one per branch."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Import from this clone. Scripts must not hide libraries of the same name.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from rock_glacier.cli import main

    sys.exit(main(["stage", *sys.argv[1:]]))
