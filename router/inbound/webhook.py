"""The input and the output of every parser's `split`, and two readers of single fields that parsers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.core.errors import UnreadableError
from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.events import Identity, SharedBody
    from router.core.signing.form import Form
    from router.inbound.email.mail import ReceivedMail


class Webhook(Value):
    """An authentic webhook: its `form` (NO_FORM for JSON), the raw `body`, and Twilio's idempotency token.

    The body of a mail is read as a stream and not kept; `mails` holds what was read of it, one mail per recipient.
    """

    body: bytes
    form: Form
    token: str | None
    mails: tuple[ReceivedMail, ...] = ()


class Piece(Value):
    """One event of a webhook: its identity, and the body of its inbound entry, without the part that is `shared`."""

    identity: Identity
    body: bytes
    shared: SharedBody | None = None


def require(texts: Mapping[str, str], *names: str) -> None:
    """Raise UnreadableError naming every parameter that is missing or blank."""
    missing = [name for name in names if not texts.get(name, "").strip()]
    if missing:
        raise UnreadableError(f"missing or blank: {', '.join(missing)}")


def get_text(data: Mapping[str, Any], name: str) -> str | None:
    """Return a field of a JSON object if it is a text and not empty."""
    found = data.get(name)
    return found if isinstance(found, str) and found else None
