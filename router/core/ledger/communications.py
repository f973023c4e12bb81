"""Communications: one `communication.received` for the conversation's holder, whichever source reports it first.

The form webhook, Event Streams and the status callback report one message under different ids. Each report becomes a
`CommunicationFact` with all names that it knows. The entry's id is made from the first name; the commit claims all of
them, and leaves the entry out if one was claimed before. A `channelId` that is a CallSid or the SID of a classic
conversation belongs to many communications, so it is shown but not claimed. A Message-ID may be of many mails, so a
mail is claimed under a name of its own, and shares its Message-ID with others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from router.core.addresses import Channel, from_key
from router.core.entries import show_address, show_customer
from router.core.events import STRANGER, Content, MessageReceived, Person
from router.core.ids import SID_DIGITS
from router.core.ledger.aliases import find_announced
from router.core.ledger.marker import Claim, Hearing
from router.core.opt_outs import find_opt_out
from router.core.provider_fields import bound_fields
from router.core.resources import AGENT_TYPES
from router.core.values import Value

if TYPE_CHECKING:
    from router.core.addresses import Address
    from router.core.events import Cause, ClassicReported, CommunicationReported, Referral
    from router.core.ledger.ledger import Ledger
    from router.core.ledger.marker import Marker

_DAY: Final = 86_400
#: Seconds that the names of a communication stay claimed: longer than its longest redelivery.
LIFE: Final = 2 * _DAY
MAIL_LIFE: Final = 7 * _DAY
#: Fields of the API's content that have their own place.
_SHOWN: Final = frozenset({"text", "type"})
#: The SID of one message: SMS and MMS (other channels use these too), or classic.
_MESSAGE_SID: Final = re.compile(f"(?:SM|MM|IM){SID_DIGITS}")


class CommunicationFact(Value):
    """A communication as one source reports it.

    `names` identify it; the first is the one that most sources know. `author_id` is the author's participant id, if the
    source gives it; an `author` with an empty value is identified by that alone. `is_certain`: see Claim.
    `person` is the author, and `aliases` are the author's further addresses, as far as the source tells them.
    `shared`: see Claim.
    """

    cause: Cause
    names: tuple[str, ...]
    author: Address
    content: Content
    recipient: Address | None = None
    author_id: str | None = None
    communication_id: str | None = None
    channel_id: str | None = None
    created_at: str | None = None
    is_certain: bool = True
    person: Person = STRANGER
    aliases: tuple[Address, ...] = ()
    shared: tuple[str, ...] = ()

    @property
    def claim(self) -> Claim:
        """Its claim: the names, how long they stay claimed, and whether the conversation is certain."""
        life = MAIL_LIFE if self.author.channel == Channel.EMAIL else LIFE
        return Claim(self.names, life, self.is_certain, self.shared)


def name_of(message: MessageReceived) -> str:
    """Return the name of a message as a communication; other sources know it by its resource id."""
    return message.name or message.cause.resource_id or message.message_sid


def shared_by(message: MessageReceived) -> tuple[str, ...]:
    """Return the names that a message may share with others, which are the names of one for other sources."""
    return () if message.name is None else (message.cause.resource_id or message.message_sid,)


def from_message(message: MessageReceived, *, is_certain: bool = True, is_again: bool = False) -> CommunicationFact:
    """Make the fact of a received message.

    Not `is_certain`: that its conversation is open is trusted, not known. `is_again`: it is published once more in the
    conversation in which it was published before, as another entry.
    """
    name = name_of(message)
    return CommunicationFact(
        cause=message.cause,
        names=(f"{name} again" if is_again else name,),
        author=message.customer,
        content=message.content,
        recipient=message.recipient,
        channel_id=name if message.name is None else message.cause.resource_id,
        created_at=message.sent_at,
        is_certain=is_certain,
        person=message.person,
        aliases=message.aliases,
        shared=() if message.name is None or is_again else shared_by(message),
    )


def from_communication(event: CommunicationReported) -> CommunicationFact | None:
    """Make the fact of a communication of the API; None if it has no author."""
    communication, author = event.communication, event.communication.author
    if author is None:
        return None
    ours = next((one for one in communication.recipients if one.channel == author.channel and one.address), None)
    content, channel_id = communication.content or {}, communication.channel_id
    text, kind = content.get("text"), content.get("type")
    text, recipient = text if isinstance(text, str) else "", ours.as_address() if ours else None
    messages = [one for one in (communication.resource_id, channel_id) if one and _names_one(one, author.channel)]
    return CommunicationFact(
        cause=event.cause,
        names=tuple(dict.fromkeys([*messages, communication.id])),
        author=author.as_address(),
        content=Content(
            text,
            kind if isinstance(kind, str) and kind else "TEXT",
            opt_out=find_opt_out(text, author.channel, recipient),
            provider=bound_fields({name: content[name] for name in content.keys() - _SHOWN}),
        ),
        recipient=recipient,
        author_id=author.participant_id,
        communication_id=communication.id,
        channel_id=channel_id,
        created_at=communication.created_at,
    )


def from_classic(event: ClassicReported, author: Address) -> CommunicationFact:
    """Make the fact of a classic conversation's message, whose author may be at `author`."""
    sid, text = event.message_sid or event.cause.idempotency_key, event.text or ""
    opt_out = find_opt_out(text, author.channel, event.recipient)
    return CommunicationFact(
        cause=event.cause,
        names=(sid,),
        author=author,
        content=Content(text, media=event.media, opt_out=opt_out, provider=event.provider),
        author_id=event.participant_sid,
        communication_id=sid,
        channel_id=event.conversation_sid,
        created_at=event.created_at,
    )


def is_message_sid(name: str) -> bool:
    """Return whether a name is the SID of one message."""
    return bool(_MESSAGE_SID.fullmatch(name))


def _names_one(name: str, channel: str) -> bool:
    """Return whether a channelId or resourceId identifies a single message: by its SID or Message-ID."""
    return is_message_sid(name) or (channel == Channel.EMAIL and "@" in name)


def was_heard(ledger: Ledger, claim: str | None, *, arrived_at: int) -> bool:
    """Return whether a communication that is claimed in a conversation was rightly published there.

    It was, unless it was published on trust and its entry appended (`arrived_at`, µs) after the closing, which became
    known later. Within the same millisecond it counts as later: better heard twice than by nobody.
    """
    if claim is None or claim == Hearing.CERTAIN:
        return claim is not None
    closed_at = ledger.closed_at
    return closed_at is None or arrived_at < closed_at


def find_author(ledger: Ledger, fact: CommunicationFact) -> str | None:
    """Return the id of the announced author: the author itself, or the participant announced at its address."""
    marker = ledger.marker(fact.author_id) if fact.author_id else None
    if marker is not None and marker.is_present and marker.target is not None:
        return fact.author_id
    if marker is not None and (marker.is_ours or marker.type in AGENT_TYPES):
        return None
    return find_announced(ledger, fact.author, fact.aliases)


def take_communication(
    ledger: Ledger, fact: CommunicationFact, *, text_limit: int, author_id: str | None = None
) -> bool:
    """Publish a communication once, if its author is announced and the conversation is open; return whether it is.

    `text_limit` is in characters. `author_id` is the result of `find_author`, if the caller has it.
    """
    author_id = None if ledger.is_closed else author_id or find_author(ledger, fact)
    if author_id is None:
        return False
    marker = ledger.marker_if_read(author_id)  # its details are not worth another read
    author = _address(fact.author, marker)
    recipient = fact.recipient or ledger.recipient(author.channel)
    ledger.say(
        fact.cause,
        {
            **show_customer(author, recipient, fact.person, marker.addresses + marker.aliases if marker else ()),
            "participant": {
                "id": author_id,
                "conversation_id": ledger.conversation_id,
                "account_id": ledger.account_id,
                "name": None,
                "type": (marker.type or None) if marker else None,
                "profile_id": None,
                "addresses": [{**show_address(author), "channel_id": None}],
                "created_at": None,
                "updated_at": None,
            },
            "communication": _shown(fact, text_limit),
        },
        subject=author_id,
        name=fact.names[0],
        claim=fact.claim,
    )
    return True


def _address(author: Address, marker: Marker | None) -> Address:
    """Return the author's address; for an author known by id alone, one that it was announced at."""
    if author.value or marker is None:
        return author
    known = [from_key(key) for key in marker.addresses]
    return next((one for one in known if one.channel == author.channel), known[0] if known else author)


def _shown(fact: CommunicationFact, limit: int) -> dict[str, Any]:
    content = fact.content
    return {
        "id": fact.communication_id,
        "channel_id": fact.channel_id,
        "type": content.kind,
        "text": content.text[:limit],
        "is_text_cut": content.is_cut or len(content.text) > limit,
        "media": [one._asdict() for one in content.media],
        "location": content.location and content.location._asdict(),
        "reply": content.choice and content.choice._asdict(),
        "in_reply_to": content.in_reply_to,
        "referral": content.referral and _show_referral(content.referral),
        "opt_out": content.opt_out,
        "provider": dict(content.provider.fields),
        "is_provider_cut": content.provider.is_cut,
        "created_at": fact.created_at,
    }


def _show_referral(referral: Referral) -> dict[str, Any]:
    return referral._asdict() | {"media": [one._asdict() for one in referral.media]}
