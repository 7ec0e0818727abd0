"""The configuration, and the only reader of the environment and of brain.toml.

Flags go over `THE_BRAIN_*`, these over `brain.toml`, that over the defaults. `brain.toml` is looked for from the
working directory upwards (a `[tool.brain]` table in `pyproject.toml` counts too), then in the user's configuration
directory. Unknown keys are errors that name the nearest known one.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from brain_core.errors import ConfigError, nearest
from brain_core.validation import wanted_setting

PREFIX = "THE_BRAIN_"
NOT_SETTINGS = ("THE_BRAIN_TEST_",)
"""Beginnings of variables that are not ours to judge: the test suite's own."""

Values = dict[str, Any]
SHORT = "short"
"""Stands for the origin of what a plugin's own variable gives, such as THE_BRAIN_LLM_MODEL."""
SECRETS = ("api_token", "master_key")
"""Settings that are shown to nobody, and that workflow code does not find in its environment."""
MIN_API_TOKEN = 16
MIN_MASTER_KEY = 32


def default_home() -> Path:
    """Return where data goes unless told otherwise; root's server runs as another user, who cannot enter /root."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/brain")
    base = os.environ.get("XDG_DATA_HOME")
    return Path(base) / "brain" if base else Path.home() / ".local" / "share" / "brain"


class Retention(BaseModel):
    """How long finished runs are kept. A run created over `days` ago goes unless one of the others keeps it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: float = Field(
        default=365.0, gt=0, description="Finished runs that were created longer ago are deleted; 0.5 is twelve hours."
    )
    keep_last: int = Field(default=100, ge=0, description="So many runs of each workflow stay, however old.")
    keep_failed: float = Field(default=730.0, ge=0, description="Failed runs stay for so many days after their end.")


class Settings(BaseSettings):
    """Every setting of the core, with its default. Times are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True
    )

    database_url: SecretStr | None = Field(
        default=None, description="The PostgreSQL to use; without it an embedded one starts by itself."
    )
    database_pooler: bool = Field(
        default=False,
        description="Whether a pooler in transaction mode, such as PgBouncer, stands before it.",
    )
    home: Path = Field(
        default_factory=default_home, description="Where the embedded PostgreSQL and other data of this user live."
    )
    api_token: SecretStr | None = Field(
        default=None, description="The token that clients of an API which a plugin serves have to show."
    )
    master_key: SecretStr | None = Field(
        default=None,
        description="What keys and secrets for others are derived from; without it `master.key` in `home` is.",
    )
    import_timeout: float = Field(default=30.0, gt=0, description="How long a workflow file may take to load.")
    plugin_timeout: float = Field(default=10.0, gt=0, description="How long a plugin may take to load.")
    hook_timeout: float = Field(default=10.0, gt=0, description="How long an event hook or `on_finished` may take.")
    beat: float = Field(default=5.0, gt=0, description="How often a worker gives a sign of life.")
    lease: float = Field(
        default=15.0, gt=0, description="How long a silent worker keeps its runs; at least three beats."
    )
    max_output: int = Field(
        default=16 * 1024 * 1024, gt=0, le=200 * 1024 * 1024, description="The largest output of a step that is kept."
    )
    embedded_idle: float = Field(
        default=300.0, ge=0, description="How long the embedded PostgreSQL stays up after its last user."
    )
    concurrency: int = Field(default=32, gt=0, le=10_000, description="How many runs a daemon has in hand at once.")
    runner_idle: float = Field(
        default=60.0, ge=0, description="How long a daemon keeps the idle process of a workflow file."
    )
    log_format: Literal["text", "json"] = Field(default="text", description="How a daemon writes its log.")
    retention: Retention = Field(default_factory=Retention, description="How long runs are kept; a table of its own.")
    plugins: dict[str, Any] = Field(
        default_factory=dict, description="`disable`, a list of plugins to leave out, and a table for each plugin."
    )

    @field_validator("database_url", mode="after")
    @classmethod
    def _password_is_where_it_is_looked_for(cls, url: SecretStr | None) -> SecretStr | None:
        # A bare /, ? or # ends the part of a URL that holds the password, whose rest would then be shown as a path.
        text = "" if url is None else url.get_secret_value()
        authority, _, rest = text.partition("://")[2].partition("/")
        authority, *more = re.split(r"[?#]", authority, maxsplit=1)
        if "@" not in authority and ":" in authority and "@" in "".join([*more, rest]).partition("?")[0]:
            raise ValueError("its password holds '/', '?' or '#'; write them as %2F, %3F and %23")
        return url

    @field_validator("api_token", mode="after")
    @classmethod
    def _token_can_be_sent(cls, token: SecretStr | None) -> SecretStr | None:
        text = "x" * MIN_API_TOKEN if token is None else token.get_secret_value()
        if len(text) < MIN_API_TOKEN:
            raise ValueError(f"it has fewer than {MIN_API_TOKEN} characters; set THE_BRAIN_API_TOKEN to a longer one")
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ValueError("it holds what no header can carry; set THE_BRAIN_API_TOKEN to ASCII without spaces")
        return token

    @field_validator("master_key", mode="after")
    @classmethod
    def _key_cannot_be_guessed(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and len(key.get_secret_value()) < MIN_MASTER_KEY:
            raise ValueError(f"it has fewer than {MIN_MASTER_KEY} characters; set THE_BRAIN_MASTER_KEY to a longer one")
        return key

    @field_validator("home", mode="after")
    @classmethod
    def _home_is_absolute(cls, home: Path) -> Path:
        return Path(os.path.abspath(home.expanduser()))  # noqa: PTH100 - resolve() would follow links

    @model_validator(mode="after")
    def _lease_covers_beats(self) -> Self:
        if self.lease < 3 * self.beat:
            raise ValueError(f"lease ({self.lease:g} s) has to be at least three beats ({self.beat:g} s each)")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The sources are read one by one in load_settings, which has to know where each value came from.
        return (init_settings,)


@dataclass(frozen=True)
class LoadedSettings:
    """The settings, and for each the place that it came from."""

    settings: Settings
    origins: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None

    def origin(self, name: str) -> str:
        """Return where a setting came from: `default`, `flag`, a variable's name, or the path of a file.

        A setting of a plugin is named `plugins.NAME.key`.
        """
        return self.origins.get(name, "default")

    def entries(self) -> Iterator[tuple[str, Any, str]]:
        """Yield name, value as it may be shown (secrets masked) and origin of each setting of the core.

        Of `plugins` it is `plugins.disable` alone: which values in a plugin's section are secret, its model knows.
        """
        for name in type(self.settings).model_fields:
            value = getattr(self.settings, name)
            if isinstance(value, BaseModel):
                for key in type(value).model_fields:
                    yield f"{name}.{key}", getattr(value, key), self.origin(f"{name}.{key}")
            elif name != "plugins":
                yield name, _shown(name, value), self.origin(name)
        yield "plugins.disable", self.settings.plugins.get("disable", []), self.origin("plugins.disable")


def load_settings(overrides: Mapping[str, Any] | None = None, *, start: Path | None = None) -> LoadedSettings:
    """Read the configuration; ConfigError names the key or value that is wrong and where it stands.

    `overrides` are values from flags; `start` is where the search for brain.toml begins (the working directory).
    """
    file, from_file = _read_file(start)
    short = _short_variables()
    from_environment = _read_environment()
    layers: list[tuple[Values, str | None]] = [
        (from_file, str(file)),
        (short, SHORT),
        (from_environment, None),
        (dict(overrides or {}), "flag"),
    ]
    merged: Values = {}
    origins: dict[str, str] = {}
    for values, origin in layers:
        for name, value in values.items():
            both = isinstance(value, dict) and isinstance(merged.get(name), dict)
            merged[name] = _merge(merged[name], value) if both else value
            for path in _paths(name, value):
                origins[path] = _variable(path, short=origin == SHORT) if origin in (None, SHORT) else str(origin)
    try:
        return LoadedSettings(Settings(**merged), origins, file)
    except ValidationError as error:
        raise ConfigError(_explain(error, origins)) from None


def forget_secrets() -> None:
    """Take the secrets of the core out of the environment of this process, and so of those that it starts.

    For processes that run workflow code. Who runs as the same user can read them elsewhere all the same.
    """
    secret = {PREFIX + name.upper() for name in SECRETS}
    for variable in [name for name in os.environ if name.upper() in secret]:
        del os.environ[variable]


def _merge(below: Values, above: Values) -> Values:
    merged = dict(below)
    for name, value in above.items():
        known = merged.get(name)
        merged[name] = _merge(known, value) if isinstance(value, dict) and isinstance(known, dict) else value
    return merged


def _paths(name: str, value: Any) -> Iterator[str]:
    """Yield the dotted names that a value gives: its own, and in `plugins` those of each section's keys."""
    yield name
    if isinstance(value, dict) and name.count(".") < 2:
        for key, inner in value.items():
            yield from _paths(f"{name}.{key.replace('-', '_')}", inner)


def _read_environment() -> Values:
    try:
        found = dict(EnvSettingsSource(Settings)())
    except ValueError as error:
        raise ConfigError(f"the environment cannot be read: {error}") from None
    plugins = found.get("plugins")
    if isinstance(plugins, dict) and isinstance(names := plugins.get("disable"), str):
        # pydantic-settings reads JSON one level deeper only, in the sections of plugins.
        try:
            plugins["disable"] = json.loads(names)
        except ValueError:
            raise ConfigError(
                f"setting plugins.disable is {names!r} (from {PREFIX}PLUGINS__DISABLE); "
                'write the list as JSON, such as ["hello"]'
            ) from None
    return found


def _variable(path: str, *, short: bool) -> str:
    """Return the variable that gives a setting; `short`: a plugin's own, THE_BRAIN_LLM_MODEL."""
    name = path.upper().replace(".", "__")
    return PREFIX + (name.removeprefix("PLUGINS__").replace("__", "_", 1) if short else name)


def _short_variables() -> Values:
    """Return what variables of installed plugins give (THE_BRAIN_LLM_MODEL, nested ones with `__`), as texts.

    ConfigError for a variable that is nobody's.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields if name != "retention"}
    known |= {f"{PREFIX}RETENTION__{name.upper()}" for name in Retention.model_fields}
    keys: list[str] | None = None
    found: Values = {}
    for variable, value in os.environ.items():
        upper = variable.upper()
        if not upper.startswith(PREFIX) or upper.startswith(NOT_SETTINGS) or upper in known:
            continue
        if upper.startswith(PREFIX + "PLUGINS__"):
            continue
        keys = _plugin_keys() if keys is None else keys
        rest = upper.removeprefix(PREFIX).lower()
        key = next((key for key in keys if rest.startswith(f"{key}_") and len(rest) > len(key) + 1), None)
        if key is None:
            raise ConfigError(f"{variable} is no setting{nearest(upper, known)}; `brain config` lists them")
        if not value:
            continue
        at = found.setdefault(key, {})
        *tables, name = rest.removeprefix(f"{key}_").split("__")
        for table in tables:
            at = at.setdefault(table, {})
            if not isinstance(at, dict):
                raise ConfigError(f"{variable} and another variable set the same setting; leave one out")
        if name in at:
            raise ConfigError(f"{variable} and another variable set the same setting; leave one out")
        at[name] = _read_value(value)
    return {"plugins": found} if found else {}


def _read_value(text: str) -> Any:
    """Return lists and tables, which a variable holds as JSON, as such; anything else stays text."""
    if text[:1] in "[{":
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _plugin_keys() -> list[str]:
    """Return the keys of the installed plugins, the longest first. Late: only a variable of a plugin asks for them."""
    from importlib.metadata import entry_points

    keys = {entry.name.replace("-", "_").replace(".", "_").lower() for entry in entry_points(group="brain")}
    return sorted(keys, key=len, reverse=True)


def _read_file(start: Path | None) -> tuple[Path | None, Values]:
    try:
        here = (start or Path.cwd()).absolute()
    except FileNotFoundError:
        raise ConfigError("the working directory is gone; change to another folder") from None
    for folder in (here, *here.parents):
        try:
            found = folder / "brain.toml"
            if found.is_file():
                return found, _toml(found)
            project = folder / "pyproject.toml"
            if project.is_file() and b"[tool.brain" in project.read_bytes():
                return project, _toml(project).get("tool", {}).get("brain", {})
        except PermissionError as error:
            # Not passed over: a file that may not be read could name another database.
            raise ConfigError(
                f"{error.filename} may not be read, and could hold settings; change to another folder or its rights"
            ) from None
    base = os.environ.get("XDG_CONFIG_HOME")
    users = (Path(base) if base else Path.home() / ".config") / "brain" / "brain.toml"
    return (users, _toml(users)) if users.is_file() else (None, {})


def _toml(file: Path) -> Values:
    import tomllib

    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    name = str(first["loc"][0]) if first["loc"] else ""
    origin = origins.get(place, origins.get(name))
    where = "" if origin is None else f" (from {origin})"
    if first["type"] == "extra_forbidden":
        near = f"; did you mean 'plugins.{name}'?" if name in _plugin_keys() else nearest(place, Settings.model_fields)
        return f"'{place}' is no setting{where}{near}; `brain config` lists them"
    if not place:
        return f"the settings do not fit together: {wanted_setting(first)}"
    shown = "" if name in (*SECRETS, "database_url") else f" is {repr(first['input'])[:80]}"
    return f"setting {place}{shown}{where}: {wanted_setting(first)}"


def _shown(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        if name != "database_url":
            return "***"
        try:
            return split_password(value.get_secret_value(), mask="***")[0]
        except ConfigError:
            return "***"
    return str(value) if isinstance(value, Path) else value


def split_password(url: str, *, mask: str | None = None) -> tuple[str, str | None]:
    """Return a database URL without its password, in whichever part of it that is, and the password.

    With a `mask`, that stands where the password was. ConfigError when it is not a URL.
    """
    from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigError(f"database_url is not a URL: {error}") from None
    account, at, host = parts.netloc.rpartition("@")
    user, colon, word = account.partition(":")
    password = unquote(word) if colon else None
    kept = []
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if "pass" not in key.lower():
            kept.append((key, value))
            continue
        if key == "password":
            password = value
        if mask is not None:
            kept.append((key, mask))
    netloc = f"{user}{f':{mask}' if colon and mask else ''}{at}{host}"
    # Put together by hand: urlunsplit drops an empty host, without which psql does not know a URL.
    rest = urlunsplit(parts._replace(scheme="", netloc="", query=urlencode(kept, safe="/*")))
    return f"{parts.scheme}://{netloc}{rest}", password
