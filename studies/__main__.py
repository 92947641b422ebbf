"""The entry point of `rigl-study`, which is also `python -m studies`."""

import sys


def main() -> None:
    """Load the command line and run it; Ctrl-C is a word, and no traceback, also while it is being loaded."""
    try:
        from studies.cli import app

        app()
    except KeyboardInterrupt:
        print("rigl-study: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
