"""The process `brain`, also as `python -m brain_core`: what has to stand before the first import of the rest."""

import gc
import os
import sys

INTERRUPTED = 130
OBJECTS_BEFORE_COLLECTING = 50_000


def main() -> int:
    """Run the command line of this process and return its exit code; Ctrl-C during the imports is 130 as well.

    A daemon has nothing to finish then: SIGTERM and Ctrl-C end it with 0, as they end one that is idle.
    """
    # Start-up makes a hundred thousand objects that live to the end. To look through them over and over, and to take
    # them apart one by one at the exit, would be a sixth of a short command.
    gc.set_threshold(OBJECTS_BEFORE_COLLECTING)
    code = INTERRUPTED
    try:
        import signal

        # KeyboardInterrupt in the middle of an import may come out as something else, or not at all.
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        is_daemon = sys.argv[1:2] == ["daemon"]
        if ours:
            _end_on(signal.SIGINT, 0 if is_daemon else INTERRUPTED)
        if is_daemon:
            # Until the daemon hears them itself.
            _end_on(signal.SIGTERM, 0)
        from brain_core.cli.main import main as run_command_line

        if ours and not is_daemon:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run_command_line()
        # All is said and done, and the interpreter takes itself apart.
        if ours:
            _end_on(signal.SIGINT, code)
        if is_daemon:
            _end_on(signal.SIGTERM, code)
    except KeyboardInterrupt:
        # Interrupted in its imports, or again while it ended: what is in its buffers nobody reads.
        os._exit(INTERRUPTED)
    finally:
        gc.freeze()
    return code


def _end_on(number: int, code: int) -> None:
    import signal

    signal.signal(number, lambda *_: os._exit(code))


if __name__ == "__main__":
    sys.exit(main())
