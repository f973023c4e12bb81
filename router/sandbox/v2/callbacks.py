"""Status callbacks of v2: JSON, signed as Twilio signs it, and retried.

`bodySHA256` is in the URL, X-Twilio-Signature in the headers, and one I-Twilio-Idempotency-Token per event, equal over
its retries and duplicates. Retried without a response, after 5xx and after 429; then given up, with a log line. GET
callbacks are skipped: it is undocumented how they carry the event. Events and signature:
https://www.twilio.com/docs/conversations/orchestrator/webhooks.
"""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from uuid import UUID

import orjson

from router.core.backoff import backoff
from router.core.signing.twilio import sign
from router.sandbox.deliveries import OK, Deliverer, called_url

if TYPE_CHECKING:
    from router.sandbox.bodies import Wire
    from router.sandbox.deliveries import CallbackDelivery
    from router.sandbox.v2.records import Callback

_SERVER_ERROR: Final = 500
_TOO_MANY: Final = 429

log = logging.getLogger(__name__)


class StatusCallbacks(Deliverer):
    """Posts the status callbacks of all conversations."""

    def publish(self, conversation_id: str, callbacks: tuple[Callback, ...], event: Wire) -> None:
        """Deliver `event` to each callback in the background; never raises."""
        if self._session is None:
            return
        body, token = orjson.dumps(event), str(UUID(int=self._entropy.getrandbits(128), version=4))
        for callback in callbacks:
            if callback.method == "POST":
                self._enqueue(conversation_id, callback.url, body, event["eventType"], token=token)
            else:
                log.info("callback skipped: method %s carries no event", callback.method)

    async def _deliver(self, delivery: CallbackDelivery, slots: asyncio.Semaphore) -> bool:
        options = self._options()
        url = signed_url(delivery.url, delivery.body)
        headers = {
            "Content-Type": "application/json",
            "X-Twilio-Signature": sign(options.auth_token, url.encode()),
            "I-Twilio-Idempotency-Token": delivery.token,
        }
        status: int | None = None
        for attempt in range(1 + options.callback_retries):
            if attempt:
                await asyncio.sleep(backoff(options.callback_backoff_seconds, attempt - 1))
            async with slots:  # not while it waits for the next try
                response = await self._send(
                    url, delivery.body, headers, patience=options.callback_timeout_seconds, is_read=False
                )
            status = response[0] if response else None
            if status in OK:
                return True
            if status is not None and status < _SERVER_ERROR and status != _TOO_MANY:
                break
        log.warning("callback given up: %s, last status %s", delivery.event_type, status or "none")
        return False


def signed_url(url: str, body: bytes) -> str:
    """Return the URL that is called and signed, with the digest of the body."""
    return called_url(url, f"bodySHA256={sha256(body).hexdigest()}")
