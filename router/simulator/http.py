"""The HTTP side of the simulator: signs webhooks as Twilio does, posts them, and calls the sandbox's admin API.

`Sender` signs for PUBLIC_BASE_URL, the URL that Twilio calls, and posts to where the receiver listens. On request it
sends a webhook that must be refused. Signatures: https://www.twilio.com/docs/usage/webhooks/webhooks-security.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from router.core.signing.twilio import base_urls, sign, voice_base

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

    from router.simulator.messages import SimulatedWebhook

#: What `post_json` raises if a server does not answer, or not as it should; a TimeoutError is an OSError.
HTTP_ERRORS: Final = (aiohttp.ClientError, OSError)
_VOICE_PATH: Final = "/webhooks/voice"


@dataclass(frozen=True, slots=True)
class SignatureFault:
    """How a webhook fails verification: altered after signing, signed with another token, or not signed."""

    is_tampered: bool = False
    has_wrong_token: bool = False
    is_unsigned: bool = False


#: A webhook that passes verification.
NO_FAULT: Final = SignatureFault()


class Sender:
    """Signs and posts webhooks; an async context manager that holds one HTTP session.

    `receiver_url` is where the receiver listens, `public_base_url` is what is signed, `auth_token` is what signs.
    """

    def __init__(self, *, receiver_url: str, public_base_url: str, auth_token: str) -> None:
        self._receiver_url = receiver_url.rstrip("/")
        self._base_url = base_urls(public_base_url)[0]
        self._auth_token = auth_token
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=256), timeout=aiohttp.ClientTimeout(total=15)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()

    def sign(self, webhook: SimulatedWebhook, fault: SignatureFault = NO_FAULT) -> tuple[str, dict[str, str], bytes]:
        """Return the path with its query, the headers and the body of the request."""
        path = webhook.path
        pairs = [(name.encode(), value.encode()) for name, value in webhook.pairs]
        if not webhook.pairs:
            path += f"?bodySHA256={sha256(webhook.body).hexdigest()}"
        token = "0" * 32 if fault.has_wrong_token else self._auth_token
        headers = {"Content-Type": webhook.content_type, "User-Agent": "TwilioProxy/1.1"}
        if webhook.token:
            headers["I-Twilio-Idempotency-Token"] = webhook.token
        if not fault.is_unsigned:
            base = voice_base(self._base_url) if path == _VOICE_PATH else self._base_url
            headers["X-Twilio-Signature"] = sign(token, base + path.encode(), pairs)
        if not fault.is_tampered:
            return path, headers, webhook.body
        return path, headers, webhook.body + (b"&Tampered=1" if webhook.pairs else b" ")

    async def send(self, webhook: SimulatedWebhook, fault: SignatureFault = NO_FAULT) -> tuple[int, bytes]:
        """Post a webhook; returns status and body of the response. Raises aiohttp.ClientError without one."""
        assert self._session is not None, "use it in `async with`"  # noqa: S101 - a programming error
        path, headers, body = self.sign(webhook, fault)
        async with self._session.post(self._receiver_url + path, data=body, headers=headers) as response:
            return response.status, await response.read()


async def is_up(url: str) -> bool:
    """Tell whether a GET of `url` answers 200."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            session.get(url) as response,
        ):
            return response.status == HTTPStatus.OK
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def get_json(url: str, query: Mapping[str, str], *, user: str, password: str) -> dict[str, Any]:
    """Get a JSON object with Basic credentials; raises aiohttp.ClientError for any status but 2xx."""
    async with (
        aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(user, password)}) as session,
        session.get(url, params=query, raise_for_status=True) as response,
    ):
        document: dict[str, Any] = await response.json()
        return document


async def find_json(url: str, *, user: str, password: str, seconds: float = 2.0) -> dict[str, Any] | None:
    """Get a JSON object as `get_json` does; None if there is none within `seconds`, whatever the reason."""
    try:
        async with asyncio.timeout(seconds):
            return await get_json(url, {}, user=user, password=password)
    except (aiohttp.ClientError, OSError, ValueError):  # a TimeoutError is an OSError
        return None


async def post_json(url: str, body: dict[str, Any], *, user: str, password: str) -> dict[str, Any]:
    """Post `body` with Basic credentials; returns the JSON object of the response.

    Raises aiohttp.ClientError for any status but 2xx.
    """
    async with (
        aiohttp.ClientSession(headers={"Authorization": aiohttp.encode_basic_auth(user, password)}) as session,
        session.post(url, json=body, raise_for_status=True) as response,
    ):
        document: dict[str, Any] = await response.json()
        return document
