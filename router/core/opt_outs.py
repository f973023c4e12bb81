"""Keywords that Twilio answers itself by default: it opts the customer out or in, or helps.

Twilio's default handling of SMS does not mark such messages; Advanced Opt-Out does (`OptOutType`).
https://help.twilio.com/articles/223134027
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from router.core.addresses import Channel

if TYPE_CHECKING:
    from router.core.addresses import Address

#: Characters of the longest keyword, and of some blanks around it.
LONGEST_KEYWORD: Final = 20
#: Keywords after which Twilio refuses further messages to the customer.
_STOP: Final = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"})
#: YES is missing: Twilio takes it for START only from those who had opted out, and it is also an answer.
_ANSWERED: Final = {"START": "START", "UNSTOP": "START", "HELP": "HELP", "INFO": "HELP"}
#: Our numbers for which Twilio answers HELP and START by default: of North America, and short codes.
_ANSWERING: Final = re.compile(r"\+1\d{10}|\d{3,8}", re.ASCII)


def find_opt_out(text: str, channel: str, recipient: Address | None) -> str | None:
    """Return STOP, START or HELP if a text is exactly such a keyword, on a channel where Twilio answers it.

    HELP and START count only if our address `recipient` is known.
    """
    if channel != Channel.SMS or len(text) > LONGEST_KEYWORD:
        return None
    word = text.strip().upper()
    if word in _STOP:
        return "STOP"
    is_answering = recipient is not None and _ANSWERING.fullmatch(recipient.canonical)
    return _ANSWERED.get(word) if is_answering else None
