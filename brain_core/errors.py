"""Every error that brain-core raises on purpose, in one tree.

    BrainError                     expected: shown as one line, never as a traceback
    ├── UsageError                 the command or the call was wrong                      exit 2
    │   ├── InputError             an input of a workflow is missing or of the wrong type
    │   └── ConfigError            a setting is unknown or wrong
    ├── WorkflowFileError          a workflow file cannot be used as it is                exit 1
    ├── PlaceholderError           a placeholder has no value in this run                 exit 1
    ├── StepFailed                 raised by a step to fail with a message and no type    exit 1
    ├── PluginError                a plugin cannot be used                                exit 1
    ├── TriggerRefused             a trigger cannot be registered as it is                exit 1
    ├── TriggerNotFound            no trigger has that name                               exit 1
    ├── IdempotencyConflict        a key was used for another request                 exit 1
    ├── RunNotFound                no run, or several, answer to an id                    exit 1
    ├── RunnerDied             the process that ran a workflow's code has ended           exit 1
    │   └── RunnerSilenced     it ended itself, because its daemon was silent for too long
    ├── ClaimLost                  another worker has taken this run over                 exit 1
    └── DatabaseError              the database cannot be used                            exit 3
        ├── DatabaseUnreachable    no server, wrong password, connection lost
        ├── SchemaTooNew           the schema belongs to a newer brain-core
        └── EmbeddedServerError    the embedded PostgreSQL did not start

Anything else that comes up is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterable


class BrainError(Exception):
    """An expected error: its text is one line that says what is wrong, with the value, and what to do."""

    exit_code = 1


class UsageError(BrainError):
    """The command line or the call was wrong; nothing has been done."""

    exit_code = 2


class InputError(UsageError):
    """An input of a workflow is missing, unknown or of the wrong type; nothing has run."""


class ConfigError(UsageError):
    """A setting is unknown or has a value that it cannot have."""


class WorkflowFileError(BrainError):
    """A workflow file cannot be used as it is; nothing has been written.

    `file` is the path as the user wrote it; `line` counts from 1 and is None where no line is to blame.
    """

    def __init__(self, message: str, *, file: str, line: int | None = None) -> None:
        place = file if line is None else f"{file}:{line}"
        super().__init__(f"{place}: {message}")
        self.message = message
        self.file = file
        self.line = line


class PlaceholderError(BrainError):
    """A placeholder has no value in this run; the step that holds it fails with this text."""


class StepFailed(BrainError):
    """Raised by a step's `run()`: fails the step with this message alone.

    Any other exception fails it too, with the type's name before the message.
    """


class PluginError(BrainError):
    """A plugin cannot be used; the text says which and why."""


class TriggerRefused(BrainError):
    """A trigger cannot be registered as it is; nothing has been written. Raised by `Trigger.check`, too."""


class TriggerNotFound(BrainError):
    """No trigger has the given name."""


class RunNotFound(BrainError):
    """No run answers to the given id, or several begin with it."""


class IdempotencyConflict(BrainError):
    """An idempotency key was used before, for something else; nothing has been written."""


class RunnerDied(BrainError):
    """The process that ran a workflow's code has ended; the text names its exit code or signal."""


class RunnerSilenced(RunnerDied):
    """A runner process has ended itself because its daemon was silent for too long: its steps are interrupted (G12)."""


class ClaimLost(BrainError):
    """Another worker has taken this run over; this process can write nothing more about it (G12)."""


class DatabaseError(BrainError):
    """The database cannot be used."""

    exit_code = 3


class DatabaseUnreachable(DatabaseError):
    """No server answers there, it refuses us, or the connection was lost."""


class SchemaTooNew(DatabaseError):
    """The schema was migrated by a newer brain-core than this one (G20)."""


class EmbeddedServerError(DatabaseError):
    """The embedded PostgreSQL could not be prepared, started or stopped."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, or an empty text when none is near."""
    import difflib  # late: only a mistake needs it

    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
