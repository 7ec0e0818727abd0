"""`[plugins]` of the configuration: who is disabled, and each plugin's own section held against its model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from brain_core.errors import ConfigError, nearest
from brain_core.plugin.discovery import key_of
from brain_core.validation import wanted_setting

if TYPE_CHECKING:
    from pydantic import BaseModel

DISABLE = "disable"
EMPTY: Mapping[str, str] = MappingProxyType({})
_SHOWN = 80


def disabled_of(plugins: Mapping[str, Any], known: Collection[str]) -> frozenset[str]:
    """Return the keys of the disabled plugins; ConfigError for a name that nothing installed has."""
    names = plugins.get(DISABLE, [])
    if isinstance(names, str) or not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
        raise ConfigError(f"setting plugins.disable is {names!r}; it has to be a list of plugin names")
    for name in names:
        if key_of(name) not in known:
            raise ConfigError(f"setting plugins.disable names '{name}', which is not installed{_hint(name, known)}")
    return frozenset(key_of(name) for name in names)


def sections_of(plugins: Mapping[str, Any], known: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the section of each plugin that has one; ConfigError for a section that belongs to nobody."""
    sections = {}
    for name, section in plugins.items():
        if name == DISABLE:
            continue
        if key_of(name) not in known:
            hint = nearest(name, [DISABLE]) if not isinstance(section, dict) else ""
            raise ConfigError(
                f"no plugin '{name}' is installed, and [plugins.{name}] is there{hint or _hint(name, known)}"
            )
        if not isinstance(section, dict):
            raise ConfigError(f"setting plugins.{name} is {section!r}; it has to be a table, [plugins.{name}]")
        sections[key_of(name)] = section
    return sections


def settings_from(
    model: type[BaseModel] | None, key: str, section: Mapping[str, Any], origins: Mapping[str, str] = EMPTY
) -> BaseModel | None:
    """Return a plugin's settings from its section; ConfigError names the first key or value that is wrong.

    It shows the value that is wrong, but no secret, nor what a validator of a model with `hide_input_in_errors` has
    refused: such a validator says itself what may be seen.
    """
    if model is None:
        if section:
            raise ConfigError(f"plugin '{key}' has no settings, and [plugins.{key}] has {', '.join(section)}")
        return None
    from pydantic import SecretBytes, SecretStr, ValidationError

    names = _names_of(model)
    if model.model_config.get("extra") != "allow":
        for name in section:
            if name not in names:
                has = ", ".join(sorted(model.model_fields)) or "none"
                raise ConfigError(
                    f"'plugins.{key}.{name}' is no setting{_origin(origins, ('plugins', key, name))}"
                    f"{nearest(name, names)} (plugin '{key}' has: {has})"
                )
    try:
        return model.model_validate(dict(section))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ("plugins", key, *map(str, first["loc"]))
        field = model.model_fields.get(str(first["loc"][0])) if first["loc"] else None
        # A whole section, or a value that is a secret, is not to be seen in an error.
        secret = field is None or any(kind in str(field.annotation) for kind in _names((SecretStr, SecretBytes)))
        hidden = first["type"] == "value_error" and model.model_config.get("hide_input_in_errors")
        shown = "" if secret or hidden or first["type"] == "missing" else f" is {repr(first['input'])[:_SHOWN]}"
        why = wanted_setting(first)
        raise ConfigError(f"setting {'.'.join(place)}{shown}{_origin(origins, place)}: {why}") from None
    except Exception as error:  # noqa: BLE001 - a stranger's validators
        raise ConfigError(f"[plugins.{key}] is refused: {type(error).__name__}: {error}") from None


def _origin(origins: Mapping[str, str], place: tuple[str, ...]) -> str:
    """Return where a setting came from, told by its own name or by that of the table that it stands in."""
    for end in range(len(place), 2, -1):
        if (origin := origins.get(".".join(place[:end]))) is not None:
            return f" (from {origin})"
    return ""


def _names_of(model: type[BaseModel]) -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        aliases = {alias for alias in (field.alias, field.validation_alias) if isinstance(alias, str)}
        by_name = model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name")
        names |= aliases | ({name} if by_name or not aliases else set())
    return names


def _names(types: tuple[type, ...]) -> list[str]:
    return [one.__name__ for one in types]


def _hint(name: str, known: Collection[str]) -> str:
    return nearest(name, known) or f" (installed: {', '.join(sorted(known)) or 'none'})"
