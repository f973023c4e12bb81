"""What the composition roots of worker and consumers have in common: ports made from the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router import metrics
from router.conversations import CallDetails, Transport
from router.streams.consumer import Limits

if TYPE_CHECKING:
    from router.settings import Settings


def make_transport(settings: Settings) -> Transport:
    """Return the connection to the Conversations API, which counts its calls."""
    user, password = settings.api_credentials
    return Transport(
        settings.twilio_conversations_url,
        user,
        password,
        max_in_flight=settings.api_concurrency,
        timeout=settings.api_timeout,
        on_call=_count_call,
    )


def _count_call(call: CallDetails) -> None:
    metrics.count("router_api_calls", call.method, call.route, str(call.status))


def make_limits(settings: Settings) -> Limits:
    """Return a consumer's limits from the settings of the same names."""
    return Limits(
        window=settings.window,
        batch=settings.batch,
        max_deliveries=settings.max_deliveries,
        retry_delay=settings.retry_delay,
        heartbeat_ttl=settings.heartbeat_ttl,
        grace=settings.grace,
    )
