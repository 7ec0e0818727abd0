"""The trigger type `cron`: runs at the instants of a cron expression in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, field_validator

from brain_core import Trigger, TriggerRefused, hookimpl

if TYPE_CHECKING:
    import typer


class CronSettings(BaseModel):
    """The section `[plugins.cron]`."""

    timezone: str = "UTC"
    """The time zone of a schedule that names none."""

    @field_validator("timezone")
    @classmethod
    def _is_a_time_zone(cls, timezone: str) -> str:
        from brain_core.builtin.cron.zones import zone_of

        try:
            zone_of(timezone)
        except TriggerRefused as error:
            raise ValueError(str(error)) from None
        return timezone


class Cron(Trigger):
    """Starts runs at the times of a cron expression: `Cron("0 9 * * 1-5", timezone="Europe/Berlin")`.

    Five fields as in Debian's cron, or `@daily` and its like. Without a time zone that of `[plugins.cron]` is filled
    in when the schedule is registered: UTC unless it says otherwise.
    """

    type_name: ClassVar[str] = "cron"

    cron: str
    timezone: str | None = None

    if TYPE_CHECKING:

        def __init__(self, cron: str, *, timezone: str | None = None) -> None: ...

    else:

        def __init__(self, *unnamed: Any, **data: Any) -> None:
            if unnamed:
                if len(unnamed) > 1 or "cron" in data:
                    raise TypeError('Cron takes one expression: Cron("0 9 * * 1-5", timezone="Europe/Berlin")')
                data["cron"] = unnamed[0]
            super().__init__(**data)

    def with_defaults(self, settings: Any) -> Self:
        if self.timezone is not None:
            return self
        return self.model_copy(update={"timezone": (settings or CronSettings()).timezone})

    def check(self) -> None:
        from brain_core.builtin.cron.fields import parsed

        parsed(self.cron)
        if self.timezone is not None:
            from brain_core.builtin.cron.zones import zone_of

            zone_of(self.timezone)

    def describe(self) -> str:
        from brain_core.builtin.cron.fields import parsed
        from brain_core.builtin.cron.words import described

        return described(parsed(self.cron), self.timezone)

    def notes(self) -> list[str]:
        from brain_core.builtin.cron.fields import parsed
        from brain_core.builtin.cron.words import noted

        return noted(parsed(self.cron), self._zone_name, datetime.now(UTC))

    def next_after(self, instant: datetime) -> datetime | None:
        from brain_core.builtin.cron.instants import next_due

        if instant.tzinfo is None:
            raise ValueError(f"next_after() takes an instant with its offset, not {instant!r}")
        return next_due(self.cron, self._zone_name, instant.astimezone(UTC))

    @property
    def _zone_name(self) -> str:
        return self.timezone or CronSettings().timezone


@hookimpl
def brain_trigger_types() -> list[type[Trigger]]:
    return [Cron]


@hookimpl
def brain_settings() -> type[BaseModel]:
    return CronSettings


@hookimpl
def brain_commands(app: typer.Typer, settings: CronSettings) -> None:
    from brain_core.builtin.cron.commands import add_to

    add_to(app, settings)
