"""Secrets of webhooks: how they come of the keys that are derived for them, and how they look.

A secret is its generation: the database holds a number, and what it stands for comes of the master key. Trigger ids are
never used again, so a name that is registered again has another secret.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from uuid import UUID

    from brain_core import Brain

Scheme = Literal["standard", "github", "bearer"]

FIRST = 1
"""The generation of a secret that was never changed."""


def purpose_of(trigger_id: UUID | str, scheme: str, generation: int) -> str:
    """Return the purpose for which the key of a secret is derived.

    Each scheme has its own: a bearer secret that was seen on its way never signs.
    """
    return f"webhook/{trigger_id}/{scheme}/{generation}"


def secret_of(scheme: str, key: bytes) -> str:
    """Return the secret as people paste it: as Standard Webhooks writes it, otherwise as URL-safe text."""
    if scheme == "standard":
        return "whsec_" + base64.b64encode(key).decode()
    return base64.urlsafe_b64encode(key).decode().rstrip("=")


def signing_key(scheme: str, key: bytes) -> bytes:
    """Return the bytes that a sender signs with who was given the secret."""
    return key if scheme == "standard" else secret_of(scheme, key).encode()


def master_key_of(brain: Brain) -> str:
    """Return which master key a process has, as others may read it: a fingerprint and where it comes from.

    Secrets that were made with one master key are wrong for a server with another one.
    """
    settings = brain.loaded_settings
    given = settings.settings.master_key is not None
    where = settings.origin("master_key") if given else settings.settings.home / "master.key"
    return f"{brain.derive_key('webhook/fingerprint').hex()[:8]} ({where})"
