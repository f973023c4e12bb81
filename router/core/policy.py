"""The routing policy: ordered rules that give a participant its target, with the reason.

`decide` is pure and total: the first rule whose conditions all hold decides, else the default. A rule that can never
decide, because an earlier one matches everything that it could match, stops the start, as does every misspelt word:
a misread policy loses customers without any other sign.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from router.core.addresses import PHONE_CHANNELS, Address, canonicalize, with_plus
from router.core.values import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.keys import Target


DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALL_DAYS: Final = frozenset(range(7))


class Facts(Value):
    """The facts that a decision may depend on. A rule on an unknown fact (None) does not match; `now` is aware."""

    source: str
    channel: str
    participant_type: str
    customer: Address
    now: datetime
    recipient: Address | None = None
    configuration_id: str | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class Burst:
    """The end of a turn, in seconds: `quiet` after its last communication, at most `most` after its first."""

    quiet: float
    most: float


@dataclass(frozen=True, slots=True)
class Asking:
    """The people whom a rule asks for: a queue ("" is the default one), skills, a priority from 0.

    With a `burst` the holder, whoever it is, gets what the customer says in turns as well.
    """

    queue: str = ""
    skills: tuple[str, ...] = ()
    priority: int = 0
    burst: Burst | None = None


#: The highest priority of a request for a person.
MAX_PRIORITY: Final = 999
#: Seconds: the shortest `quiet` and the longest `most` of a burst.
MIN_QUIET: Final = 0.1
MAX_BURST: Final = 300
_NOTHING: Final = Asking()


class Decision(Value):
    """The target (None: the participant is ignored), the reason, which names the rule, and what the rule asks for."""

    target: Target | None
    reason: str
    asking: Asking = _NOTHING


@dataclass(frozen=True, slots=True)
class Hours:
    """A weekly time window in a time zone: from `start` (inclusive) to `end` (exclusive).

    A window may cross midnight; it then belongs to the day on which it starts.
    """

    time_zone: str
    days: frozenset[int] = ALL_DAYS
    start: time = time(0, 0)
    end: time = time(0, 0)

    def holds(self, now: datetime) -> bool:
        """Return whether `now` (aware) is in the window."""
        local = now.astimezone(ZoneInfo(self.time_zone))
        clock, day = local.time(), local.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= clock < self.end
        if clock >= self.start:
            return day in self.days
        return (day - 1) % 7 in self.days and clock < self.end

    def date_of(self, now: datetime) -> date:
        """Return the local date on which the window that `now` (aware) is in has started."""
        local = now.astimezone(ZoneInfo(self.time_zone))
        is_after_midnight = self.start >= self.end and local.time() < self.start
        return local.date() - timedelta(days=1) if is_after_midnight else local.date()


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: all given conditions must hold; None matches anything.

    `recipients` and `customer_prefixes` are canonical forms; `line` is the rule's line in routing.toml.
    """

    name: str
    line: int
    target: Target | None
    sources: frozenset[str] | None = None
    channels: frozenset[str] | None = None
    participant_types: frozenset[str] | None = None
    recipients: frozenset[str] | None = None
    customer_prefixes: tuple[str, ...] | None = None
    configuration_ids: frozenset[str] | None = None
    accounts: frozenset[str] | None = None
    hours: Hours | None = None
    asking: Asking = _NOTHING
    #: The given ones of _CONDITIONS: the word, how to read its fact, and the accepted values.
    given: tuple[tuple[str, Callable[[Facts], str | None], frozenset[str]], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        conditions = [(word, read, getattr(self, attribute)) for word, attribute, read in _CONDITIONS]
        object.__setattr__(self, "given", tuple(one for one in conditions if one[2] is not None))


def _recipient(address: Address | None) -> str | None:
    """Return our address as rules write it: a number may come without its plus, too."""
    if address is None:
        return None
    canonical = address.canonical
    has_plus = canonical.startswith("+") or address.channel not in PHONE_CHANNELS
    return canonical if has_plus else with_plus(canonical)


#: The conditions of a rule: the word in routing.toml, the attribute, and how to read the fact.
_CONDITIONS: Final[tuple[tuple[str, str, Callable[[Facts], str | None]], ...]] = (
    ("source", "sources", lambda facts: facts.source),
    ("channel", "channels", lambda facts: facts.channel),
    ("participant_type", "participant_types", lambda facts: facts.participant_type),
    ("recipient", "recipients", lambda facts: _recipient(facts.recipient)),
    ("configuration_id", "configuration_ids", lambda facts: facts.configuration_id),
    ("account", "accounts", lambda facts: facts.account_id),
)


def _matched(rule: Rule, facts: Facts) -> list[str] | None:
    """Return the words of the rule's conditions, or None if one of them does not hold."""
    words = []
    for word, read, accepted in rule.given:
        if read(facts) not in accepted:
            return None
        words.append(word)
    if rule.customer_prefixes is not None:
        customer = facts.customer
        if customer.is_withheld or not customer.canonical.startswith(rule.customer_prefixes):
            return None
        words.append("customer_prefix")
    if rule.hours is not None:
        if not rule.hours.holds(facts.now):
            return None
        words.append("hours")
    return words


@dataclass(frozen=True, slots=True)
class Policy:
    """Ordered rules and the mandatory default; `asking` is what the default asks for."""

    default: Target | None
    rules: tuple[Rule, ...] = field(default=())
    asking: Asking = _NOTHING
    #: Whether any conversation has turns; without, nothing is read or kept for them.
    has_bursts: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        askings = (self.asking, *(rule.asking for rule in self.rules))
        object.__setattr__(self, "has_bursts", any(one.burst is not None for one in askings))

    def decide(self, facts: Facts) -> Decision:
        """Return the decision for `facts`. Total: there always is one, and it names its rule."""
        for rule in self.rules:
            words = _matched(rule, facts)
            if words is not None:
                return Decision(rule.target, f"{rule.name} ({', '.join(words)})" if words else rule.name, rule.asking)
        return Decision(self.default, "default", self.asking)

    def is_open(self, facts: Facts) -> bool:
        """Return whether an unknown recipient or configuration, once known, could change the decision."""
        for rule in self.rules:
            needs_unknown = (rule.recipients is not None and facts.recipient is None) or (
                rule.configuration_ids is not None and facts.configuration_id is None
            )
            known = replace(
                rule,
                recipients=rule.recipients if facts.recipient else None,
                configuration_ids=rule.configuration_ids if facts.configuration_id is not None else None,
            )
            if _matched(known, facts) is not None:
                return needs_unknown
        return False


def covers(earlier: Rule, later: Rule) -> bool:
    """Return whether `earlier` matches everything that `later` can match, so that `later` never decides."""
    for _, attribute, _ in _CONDITIONS:
        wide, narrow = getattr(earlier, attribute), getattr(later, attribute)
        if wide is not None and (narrow is None or not narrow <= wide):
            return False
    if earlier.customer_prefixes is not None:
        narrow_prefixes = later.customer_prefixes
        if narrow_prefixes is None or not all(one.startswith(earlier.customer_prefixes) for one in narrow_prefixes):
            return False
    return earlier.hours is None or earlier.hours == later.hours


def canonical_recipient(text: str) -> str:
    """Return the canonical form of an address in a rule, whose form implies the channel."""
    channel = "EMAIL" if "@" in text and not text.lower().startswith(("sip:", "sips:")) else "SMS"
    for prefix, implied in (("whatsapp", "WHATSAPP"), ("rcs", "RCS"), ("tel", "VOICE")):
        if text.lower().startswith(f"{prefix}:"):
            channel = implied
    return with_plus(canonicalize(channel, text))
