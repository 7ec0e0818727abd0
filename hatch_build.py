"""Put `migrations/` inside the wheel as `brain_core/migrations`.

An editable install keeps reading them where they are, beside the package: a copy there would go stale.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class MigrationsInWheel(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"]["migrations"] = "brain_core/migrations"
