"""The process `brain`, also as `python -m brain_core`: what has to stand before the first import of the rest."""

import gc
import sys

INTERRUPTED = 130
OBJECTS_BEFORE_COLLECTING = 50_000


def main() -> int:
    """Run the command line of this process and return its exit code; Ctrl-C during the imports is 130 as well."""
    # Start-up makes a hundred thousand objects that live to the end. To look through them over and over, and to take
    # them apart one by one at the exit, would be a sixth of a short command.
    gc.set_threshold(OBJECTS_BEFORE_COLLECTING)
    try:
        from brain_core.cli.main import main as run_command_line

        return run_command_line()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        gc.freeze()


if __name__ == "__main__":
    sys.exit(main())
