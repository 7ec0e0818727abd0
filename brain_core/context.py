"""StepContext: what a running step is told, and how it speaks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid5

from brain_core.bounded import BoundedText
from brain_core.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brain_core.placeholders import Json
    from brain_core.tables import Query

SettingsModel = TypeVar("SettingsModel")

MAX_LOG_CHARS = 262_144
"""How much of what a step says beside its output is kept: its beginning and its end, with a note on the rest."""


class StepContext:
    """Handed to `Step.run`; one for each attempt of a step.

    `folder` is the folder of the workflow file; relative paths in steps start there. Everything here may be called from
    any thread.
    """

    def __init__(
        self,
        *,
        run_id: str,
        workflow: str,
        step: str,
        attempt: int = 1,
        idempotency_key: str | None = None,
        folder: Path,
        settings: dict[type, Any] | None = None,
        on_live: Callable[[str], None] | None = None,
        query: Query | None = None,
    ) -> None:
        self.run_id = run_id
        self.workflow = workflow
        self.step = step
        self.attempt = attempt
        self.folder = folder
        self.details: dict[str, Any] = {}
        """JSON facts kept beside the output, such as an exit code."""
        self._idempotency_key = idempotency_key
        self._settings = settings or {}
        self._on_live = on_live
        self._query = query
        self._log = BoundedText(MAX_LOG_CHARS)

    @property
    def idempotency_key(self) -> str:
        """The same for all attempts of this step in this run, and of no other step (G10)."""
        if self._idempotency_key is None:
            self._idempotency_key = str(uuid5(UUID(self.run_id), self.step))
        return self._idempotency_key

    def live(self, text: str) -> None:
        """Show text to whoever watches the run (`brain run -v`); nothing of it is kept."""
        if self._on_live is not None and text:
            self._on_live(text)

    def log(self, text: str) -> None:
        """Show text to whoever watches, and keep it beside the step's output (bounded by MAX_LOG_CHARS)."""
        self._log.add(text)
        self.live(text)

    def settings(self, model: type[SettingsModel]) -> SettingsModel:
        """Return the plugin's own section of the configuration; its defaults where nothing is configured."""
        found: SettingsModel | None = self._settings.get(model)
        return model() if found is None else found

    async def query(self, name: str, values: Mapping[str, Json] | None = None) -> list[Json]:
        """Run a named statement of an installed plugin's `Tables` and return the value of each row.

        It runs in the process that records the run, which waits for a database that is away. What else is wrong comes
        out as a BrainError. Several at once are fine; so is any event loop.
        """
        if self._query is None:
            raise StepFailed(f"statement '{name}' cannot run: no plugin here brings tables")
        return await self._query(name, values)

    @property
    def logged(self) -> str:
        """What `log` has kept so far."""
        return self._log.text()
