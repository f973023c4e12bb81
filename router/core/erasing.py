"""A customer to be erased: the address in all its forms, and how to recognize it in whatever rests somewhere. Pure.

A phone number stands for the customer on every channel that uses phone numbers, and is recognized wherever its digits
stand on their own. So is a mailbox. Any other identity may be an ordinary word, so it is recognized only where an
address stands. What mentions the customer is the customer's: an entry of somebody else that names the number, too.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from router.core.addresses import E164_MIN, PHONE_CHANNELS, Channel, canonicalize, from_key, parse_address, with_plus
from router.core.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What stands before an identity that is an address, in forms, JSON and subjects.
_BEFORE: Final = (
    rb'(?:"(?:address|identity|author|from|From|Author|Identity|Address)"\s*:\s*"'
    rb"|(?:^|&)(?:From|Author|Identity|ParticipantIdentity|MessagingBinding\.Address)=|[A-Z]\|)"
)
#: The end of an escaped character, after which an address may begin.
_ESCAPE: Final = rb"(?<=%[0-9A-Fa-f]{2})"
_PREFIX: Final = rb"(?:(?:messenger|whatsapp|rcs|client|sip)(?::|%3A))?"


@dataclass(frozen=True)
class ErasedCustomer:
    """A customer: `keys` of addresses (`CHANNEL|canonical`), and `ids` of participants and conversations of its own.

    `conversations` are the (account, conversation)s in which there was no other customer.
    """

    keys: frozenset[str]
    ids: frozenset[str] = frozenset()
    conversations: frozenset[tuple[str, str]] = frozenset()

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The canonical addresses."""
        return tuple(sorted({from_key(key).value for key in self.keys}))

    @cached_property
    def _pattern(self) -> re.Pattern[bytes]:
        names = sorted(self.ids | {conversation for _, conversation in self.conversations})
        ids = [rb"(?<![\w-])" + re.escape(name.encode()) + rb"(?![\w-])" for name in names]
        return re.compile(b"|".join([*map(_pattern_of, self.words), *ids]))

    @cached_property
    def _names(self) -> re.Pattern[bytes]:
        return re.compile(b"|".join(map(_pattern_of, self.words)))

    def is_in(self, data: bytes) -> bool:
        """Return whether data in the clear mentions the customer: an address, or one of the ids."""
        return self._pattern.search(data) is not None

    def is_named_in(self, data: bytes) -> bool:
        """Return whether data has an address of the customer."""
        return self._names.search(data) is not None

    def has_address(self, keys: Iterable[str]) -> bool:
        """Return whether one of these keys of addresses is the customer's."""
        return not self.keys.isdisjoint(keys)

    def has_subject(self, subject: str) -> bool:
        """Return whether an inbound subject (`CHANNEL|customer|ours`) is the customer's."""
        channel, _, rest = subject.partition("|")
        return f"{channel}|{rest.partition('|')[0]}" in self.keys

    def also(self, keys: Iterable[str]) -> ErasedCustomer:
        """Return the customer with further addresses."""
        return ErasedCustomer(self.keys | frozenset(keys), self.ids, self.conversations)


@dataclass(slots=True)
class ErasedPlace:
    """One place: how many things of the customer were found there, and removed."""

    where: str
    found: int = 0
    erased: int = 0


@dataclass(slots=True)
class ErasureReport:
    """The things found, by place; `notes` say what else there is to know.

    `is_done`: the last search found nothing more, and left nothing (`unfinished`) that must be erased later.
    """

    is_dry_run: bool
    places: dict[str, ErasedPlace] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    is_done: bool = False

    @property
    def found(self) -> int:
        """The number of all things found."""
        return sum(place.found for place in self.places.values())

    def note(self, text: str) -> None:
        """Add a note once."""
        if text not in self.notes:
            self.notes.append(text)

    def end(self) -> ErasureReport:
        """Return the report at the end of the last search."""
        for text in self.unfinished:
            self.note(text)
        self.is_done = not self.unfinished
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the report for programs."""
        rows = [{"where": one.where, "found": one.found, "erased": one.erased} for one in self.places.values()]
        return {
            "dry_run": self.is_dry_run,
            "done": self.is_done,
            "found": self.found,
            "places": rows,
            "notes": self.notes,
        }


def read_customer(text: str) -> ErasedCustomer:
    """Return the customer at an address as a person writes it; raises QueryError for what names nobody."""
    address = parse_address(text)
    phone = with_plus(address.canonical)
    digits = phone.removeprefix("+")
    if digits.isdecimal():
        if len(digits) < E164_MIN:
            raise QueryError(f"{text.strip()}: a phone number needs its country code, such as +15551230001")
        return ErasedCustomer(frozenset(f"{channel}|{phone}" for channel in PHONE_CHANNELS))
    if not address.value.strip("*?%_ "):
        raise QueryError("name the customer's address: a phone number, a mailbox or an identity")
    if "@" in address.value and ":" not in address.value:
        return ErasedCustomer(frozenset({f"{Channel.EMAIL}|{canonicalize(Channel.EMAIL, address.value)}"}))
    own = canonicalize(Channel.WHATSAPP, address.value)
    values = {Channel.CHAT: text.strip(), Channel.VOICE: canonicalize(Channel.VOICE, text), Channel.WHATSAPP: own}
    return ErasedCustomer(frozenset(f"{channel}|{value}" for channel, value in values.items()))


def _pattern_of(word: str) -> bytes:
    """Return the pattern of an address in any encoding in which it may rest."""
    if word.removeprefix("+").isdecimal():
        return rb"(?:(?<![0-9])|" + _ESCAPE + rb")" + word.removeprefix("+").encode() + rb"(?![0-9])"
    forms = {word, quote(word, safe=""), quote(word), json.dumps(word)[1:-1]}
    text = rb"(?:" + rb"|".join(re.escape(form.encode("utf-8", "surrogatepass")) for form in sorted(forms)) + rb")"
    if "@" in word and ":" not in word:
        return rb"(?i:(?:(?<![\w.+-])|" + _ESCAPE + rb")" + text + rb"(?![\w-]|\.\w))"
    return _BEFORE + _PREFIX + text + rb'(?:"|&|\||$)'
