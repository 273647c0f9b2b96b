# SPDX-License-Identifier: Apache-2.0
"""python -m balena_migrate"""

from balena_migrate.cli import main

if __name__ == "__main__":
    main()
