"""python -m balena_migrate"""

from balena_migrate.cli import main

if __name__ == "__main__":
    main()
