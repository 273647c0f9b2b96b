# SPDX-License-Identifier: Apache-2.0
"""The first thing that the kit's Python runs in stage 1: more/start.py NAME ARGUMENT...

It imports nothing that brings a package in from `base`, as pathlib does with urllib, of which `more` has more modules.
"""

import os
import sys


def start() -> None:
    """Puts the part `more` first on the path and runs the command NAME."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "python"))
    del sys.argv[0]
    from balena_migrate.cli import main, stage1_main

    if sys.argv[0] == "balena-stage1":
        stage1_main()
    else:
        main()


if __name__ == "__main__":
    start()
