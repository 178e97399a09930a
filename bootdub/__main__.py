"""``python -m bootdub``: the ``bootdub`` command."""

from bootdub.cli.main import main

if __name__ == "__main__":
    main()
