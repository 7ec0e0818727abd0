"""Webhook: the trigger type `webhook`, whose runs are started by deliveries over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import PrivateAttr

from brain_core import Trigger, TriggerRefused
from brain_http_api.settings import HttpApiSettings
from brain_http_api.webhook.secrets import FIRST, Scheme, purpose_of, secret_of

if TYPE_CHECKING:
    from brain_core import Registration

HOW = {
    "standard": "sign deliveries with it as Standard Webhooks says (webhook-id, webhook-timestamp, webhook-signature)",
    "github": "at GitHub, Settings > Webhooks: paste the URL and the secret, choose the content type application/json",
    "bearer": "send it with each delivery: Authorization: Bearer SECRET",
}
"""What is done with a secret, by scheme."""
ANEW = "its secret: brain webhook rotate {name} --now prints a new one"
ONCE = "the secret is not shown again; a new one: brain webhook rotate {name}"


class Webhook(Trigger):
    """A run for each delivery that is signed as its scheme says."""

    type_name: ClassVar[str] = "webhook"
    uses_keys: ClassVar[bool] = True
    default_overlap: ClassVar[Literal["skip", "allow"]] = "allow"

    webhook: bool = True
    scheme: Scheme = "standard"

    # Not stored: a URL is what the configuration says when it is shown.
    _settings: HttpApiSettings | None = PrivateAttr(default=None)

    def with_defaults(self, settings: Any) -> Self:
        complete = self.model_copy()
        complete._settings = settings
        return complete

    def check(self) -> None:
        if not self.webhook:
            raise TriggerRefused("webhook is false, and a webhook is nothing else; leave it out")

    def describe(self) -> str:
        return f"for each delivery to its URL (scheme {self.scheme})"

    def notes(self) -> list[str]:
        if self._settings is None:
            return []
        notes = []
        if not self._settings.enabled:
            notes.append(
                "the HTTP API is switched off, so nothing takes deliveries; set enabled = true under "
                "[plugins.http_api] in brain.toml, or THE_BRAIN_HTTP_API_ENABLED=true"
            )
        if self._settings.public_url is None:
            notes.append("its URL is the one on this machine; set public_url to where others reach it")
        return notes

    def on_register(self, registration: Registration) -> list[str]:
        url = f"URL: {url_of(self._settings or HttpApiSettings(), registration.trigger)}"
        if registration.edited:
            # Its first secret may have been changed before: which one counts, only the database knows.
            return [url, ANEW.format(name=registration.trigger), HOW[self.scheme]]
        key = registration.derive_key(purpose_of(registration.id, self.scheme, FIRST))
        return [
            url,
            f"secret: {secret_of(self.scheme, key)}",
            HOW[self.scheme],
            ONCE.format(name=registration.trigger),
        ]


def url_of(settings: HttpApiSettings, name: str) -> str:
    """Return where deliveries for a trigger are sent to."""
    return f"{settings.base_url}/hooks/{quote(name, safe='')}"
