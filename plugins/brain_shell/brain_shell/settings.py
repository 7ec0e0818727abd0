"""The section `[plugins.shell]` of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ShellSettings(BaseModel):
    """Settings of every shell step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pass_env: list[str] = Field(default_factory=list)
    """Names of further environment variables that shell steps hand to their commands (`THE_BRAIN_*` never)."""
