"""``python -m fersearch`` is the ``fersearch`` command."""

from fersearch.cli.main import main

if __name__ == "__main__":
    main()
