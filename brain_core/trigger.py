"""Trigger: what starts runs, as a pure value; a plugin brings trigger types, subclasses (`brain_trigger_types`).

A trigger type owns no SQL and no clock: the core keeps one `triggers` table for all types, stores the fields of each
trigger there as JSON, and asks time-based ones for their next instant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, PrivateAttr

from brain_core.origin import made_at


@dataclass(frozen=True, slots=True)
class Registration:
    """What a trigger is told when it has been registered: its own name, the workflow's, the workflow file, and its id.

    `edited` says that it was there before, and that its type or its configuration has changed.
    `derive_key` is that of the brain: 32 bytes for a purpose. What only this trigger may have names `id` in its
    purpose: the name is free again once it is unregistered.
    """

    trigger: str
    workflow: str
    file: str
    id: UUID
    derive_key: Callable[[str], bytes] = field(repr=False, compare=False)
    edited: bool = False


class Trigger(BaseModel):
    """The configuration of one trigger; subclass it to make a trigger type.

    Its fields become the options of `brain register` (`cron: str` becomes `--cron`). The field that has the type's own
    name is the one that chooses the type: `brain register FILE --cron "0 9 * * *"` makes a trigger of the type `cron`.
    Triggers are frozen, refuse unknown fields, and have to survive `model_dump(mode="json")` and back.
    """

    # The schema of a type is built with its first trigger: few commands make one.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    type_name: ClassVar[str]
    """The type's name, unique over all plugins, and the name of the field that chooses it."""

    uses_keys: ClassVar[bool] = False
    """Whether `on_register` derives keys: then nothing is registered, or edited, while they cannot be derived."""

    default_overlap: ClassVar[Literal["skip", "allow"]] = "skip"
    """What --overlap is unless given. A type without instants that says "allow" takes every delivery, and no "skip"."""

    _defined_at: tuple[str, int] | None = PrivateAttr(default=None)

    if not TYPE_CHECKING:

        def __init__(self, **data: Any) -> None:
            super().__init__(**data)
            self._defined_at = made_at(self)

    def __eq__(self, other: object) -> bool:
        # A value: where it was made makes no difference.
        return isinstance(other, Trigger) and type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), self.model_dump_json()))

    @property
    def defined_at(self) -> tuple[str, int] | None:
        """File and line where the trigger was made, as far as they are known."""
        return self._defined_at

    def with_defaults(self, settings: Any) -> Self:
        """Called first at registration, with the plugin's section of the configuration (None without one).

        Return the trigger as it is to be stored, defaults filled in: a later change of the configuration does not
        change what is registered.
        """
        return self

    def check(self) -> None:
        """Called before anything is written; raise TriggerRefused, which says what is wrong and how to write it."""

    def describe(self) -> str:
        """Return the trigger in one line, such as `at 09:00 on Monday to Friday (Europe/Berlin)`."""
        raise NotImplementedError(f"{type(self).__name__} has no describe()")

    def notes(self) -> list[str]:
        """Return what surprises about this trigger, one line each; shown when it is registered."""
        return []

    def on_register(self, registration: Registration) -> list[str]:
        """Called once after the registration is committed; return lines to show (a webhook shows its secret here).

        Where the type `uses_keys` it is called after an edit, too.
        """
        return []

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first due instant strictly after `instant`, both in UTC; None when there is none.

        Only time-based types have it; others leave it alone. Pure: same answer for the same arguments, on every host,
        and never an earlier one for a later `instant`. Called often: keep it under a millisecond.
        """
        return None

    @classmethod
    def is_timed(cls) -> bool:
        """Whether triggers of this type are due at instants that can be computed ahead."""
        return cls.next_after is not Trigger.next_after
