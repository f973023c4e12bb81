"""Twilio's own Python client, directed at a sandbox: an independent check of the sandbox's responses.

Synchronous only (its asynchronous side posts forms to this API): run calls with `asyncio.to_thread`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

API_BASE = "https://conversations.twilio.com"


class SandboxHttpClient(TwilioHttpClient):
    """Sends requests of the Conversations API to `base_url` instead, and no others."""

    def __init__(self, base_url: str, timeout: float = 30.0) -> None:
        super().__init__(timeout=timeout)
        self._base_url = base_url.rstrip("/")
        self.session.trust_env = False  # loopback traffic must not go through a proxy of the environment

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        if not url.startswith(f"{API_BASE}/"):
            raise AssertionError(f"not a Conversations API URL: {url}")
        return super().request(method, self._base_url + url.removeprefix(API_BASE), *args, **kwargs)


@contextmanager
def official_client(base_url: str, username: str, password: str, account_sid: str) -> Iterator[Client]:
    """Yield a client whose every Conversations call goes to `base_url`; its connections are closed at the end."""
    http_client = SandboxHttpClient(base_url)
    try:
        yield Client(username, password, account_sid, http_client=http_client)
    finally:
        http_client.session.close()
