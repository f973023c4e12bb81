"""The routing policy: ordered rules that say which target takes a participant, and why.

`decide` is pure and total: the first rule whose every condition holds decides, else the default. A rule that can never
decide, because an earlier one takes everything it could take, is an error at the start, as is every misspelt word:
a policy that is read differently from how it was meant loses customers silently.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, time
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from router.core.addresses import Address, canonicalize

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.core.keys import Target

#: Digits: a shorter number is a short code.
E164_MIN: Final = 8
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALL_DAYS: Final = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Facts:
    """What a decision may depend on; what is not known is None, and a rule that asks for it does not match.

    `now` is an aware datetime.
    """

    source: str
    channel: str
    participant_type: str
    customer: Address
    now: datetime
    recipient: Address | None = None
    configuration_id: str | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The target (None: nobody, the participant is ignored) and the reason, which names the rule."""

    target: Target | None
    reason: str


@dataclass(frozen=True, slots=True)
class Hours:
    """A weekly time window in a time zone: from `start` (inclusive) to `end` (exclusive), possibly over midnight.

    A window over midnight belongs to the day on which it begins.
    """

    time_zone: str
    days: frozenset[int] = ALL_DAYS
    start: time = time(0, 0)
    end: time = time(0, 0)

    def holds(self, now: datetime) -> bool:
        """Tell whether `now` (aware) lies in the window."""
        local = now.astimezone(ZoneInfo(self.time_zone))
        clock, day = local.time(), local.weekday()
        if self.start < self.end:
            return day in self.days and self.start <= clock < self.end
        if clock >= self.start:
            return day in self.days
        return (day - 1) % 7 in self.days and clock < self.end


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: every condition that is given must hold; None means that anything will do.

    `recipients` and `customer_prefixes` hold canonical forms; `line` is where it stands in routing.toml.
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
    #: Of _CONDITIONS those that are given: the word, how it looks at the facts, and what it wants to see.
    given: tuple[tuple[str, Callable[[Facts], str | None], frozenset[str]], ...] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        conditions = [(word, look, getattr(self, attribute)) for word, attribute, look in _CONDITIONS]
        object.__setattr__(self, "given", tuple(one for one in conditions if one[2] is not None))


def _canonical(address: Address | None) -> str | None:
    return address.canonical if address else None


#: Condition of a rule (its word in routing.toml, its attribute), and how it looks at the facts.
_CONDITIONS: Final[tuple[tuple[str, str, Callable[[Facts], str | None]], ...]] = (
    ("source", "sources", lambda facts: facts.source),
    ("channel", "channels", lambda facts: facts.channel),
    ("participant_type", "participant_types", lambda facts: facts.participant_type),
    ("recipient", "recipients", lambda facts: _canonical(facts.recipient)),
    ("configuration_id", "configuration_ids", lambda facts: facts.configuration_id),
    ("account", "accounts", lambda facts: facts.account_id),
)


def _matched(rule: Rule, facts: Facts) -> list[str] | None:
    """Return the words of the conditions that held, or None if one did not."""
    words = []
    for word, look, wanted in rule.given:
        if look(facts) not in wanted:
            return None
        words.append(word)
    if rule.customer_prefixes is not None:
        if not facts.customer.canonical.startswith(rule.customer_prefixes):
            return None
        words.append("customer_prefix")
    if rule.hours is not None:
        if not rule.hours.holds(facts.now):
            return None
        words.append("hours")
    return words


@dataclass(frozen=True, slots=True)
class Policy:
    """Ordered rules and the mandatory default."""

    default: Target | None
    rules: tuple[Rule, ...] = field(default=())

    def decide(self, facts: Facts) -> Decision:
        """Return the decision for `facts`; total: there is always one, and it names its rule."""
        for rule in self.rules:
            words = _matched(rule, facts)
            if words is not None:
                return Decision(rule.target, f"{rule.name} ({', '.join(words)})" if words else rule.name)
        return Decision(self.default, "default")

    def is_open(self, facts: Facts) -> bool:
        """Tell whether knowing the recipient or the configuration, where unknown, could change the decision."""
        for rule in self.rules:
            wants_unknown = (rule.recipients is not None and facts.recipient is None) or (
                rule.configuration_ids is not None and facts.configuration_id is None
            )
            known = replace(
                rule,
                recipients=rule.recipients if facts.recipient else None,
                configuration_ids=rule.configuration_ids if facts.configuration_id is not None else None,
            )
            if _matched(known, facts) is not None:
                return wants_unknown
        return False


def covers(earlier: Rule, later: Rule) -> bool:
    """Tell whether `earlier` takes everything that `later` could take, so that `later` never decides."""
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
    """Return the canonical form of an address in a rule: the channel follows from its form."""
    channel = "EMAIL" if "@" in text and not text.lower().startswith(("sip:", "sips:")) else "SMS"
    for prefix in ("whatsapp", "rcs"):
        if text.lower().startswith(f"{prefix}:"):
            channel = prefix.upper()
    canonical = canonicalize(channel, text)
    # E.164 has a plus; a short code, which is shorter, has none.
    return f"+{canonical}" if canonical.isdecimal() and len(canonical) >= E164_MIN else canonical
