"""Reads routing.toml into a Policy, and reports every mistake with its line and reason.

config/routing.toml describes the format. TOML libraries do not return lines, so the text is searched for the n-th
`[[rule]]` and the keys below it, for messages only.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from router.core.addresses import Channel
from router.core.errors import PolicyError
from router.core.events import SourceName
from router.core.hours_table import HoursReader
from router.core.ids import SID_DIGITS
from router.core.keys import Target
from router.core.policy import (
    MAX_BURST,
    MAX_PRIORITY,
    MIN_QUIET,
    Asking,
    Burst,
    Policy,
    Rule,
    canonical_recipient,
    covers,
)
from router.core.resources import ParticipantType
from router.settings.toml_lines import TomlLines, parse_toml

if TYPE_CHECKING:
    from router.core.policy import Hours

IGNORE: Final = "ignore"
_TARGETS: Final = (*Target, IGNORE)
_WORDS: Final[dict[str, tuple[str, tuple[str, ...] | None]]] = {
    # word in the file: attribute of Rule, allowed values (None: any text)
    "source": ("sources", tuple(SourceName)),
    "channel": ("channels", tuple(Channel)),
    "participant_type": ("participant_types", tuple(ParticipantType)),
    "recipient": ("recipients", None),
    "customer_prefix": ("customer_prefixes", None),
    "configuration_id": ("configuration_ids", None),
    "account": ("accounts", None),
}
#: The keys by which a rule, or the default, asks for people (core.routing).
_ASKING: Final = frozenset({"queue", "skills", "priority"})
_RULE_KEYS: Final = frozenset({"name", "target", "hours", "burst", *_WORDS, *_ASKING})
_DEFAULT_KEYS: Final = frozenset({"target", "burst", *_ASKING})
_BURST_KEYS: Final = frozenset({"quiet", "most"})
#: Tables that settings.team_file reads.
_OTHER_TABLES: Final = frozenset({"queue", "people"})
_ACCOUNT: Final = re.compile(f"AC{SID_DIGITS}")


def read_policy(text: str, origin: str = "routing.toml") -> Policy:
    """Parse a routing policy; raises PolicyError with every problem as `origin:line: reason`."""
    return _PolicyReader(text, origin, table="rule").read(parse_toml(text, origin, PolicyError))


class _PolicyReader(TomlLines):
    """Reads the document and collects every problem."""

    def read(self, document: dict[str, Any]) -> Policy:
        for key in sorted(document.keys() - {"default", "rule"} - _OTHER_TABLES):
            self.report(self.find_top(key), f"unknown table or key '{key}' (known: default, people, queue, rule)")
        default, table = self.default(document.get("default")), document.get("default")
        asking = self.asking(table, self.find_top("default")) if isinstance(table, dict) else Asking()
        tables = document.get("rule", [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            self.report(self.find_top("rule"), "rules are written as [[rule]] tables")
            tables = []
        rules, valid = [], []
        for index, table in enumerate(tables):
            before = len(self.problems)
            rules.append(self.rule(table, self.line_of(index)))
            if len(self.problems) == before:
                valid.append(rules[-1])
        self.check_names(rules)
        self.check_reachable(valid)
        if self.problems:
            raise PolicyError(self.problems)
        return Policy(default, tuple(rules), asking)

    def default(self, table: Any) -> Target | None:
        line = self.find_top("default")
        if not isinstance(table, dict) or "target" not in table:
            self.report(line, "the default is missing: write [default] with target = one of " + ", ".join(_TARGETS))
            return None
        for key in sorted(table.keys() - _DEFAULT_KEYS):
            known = ", ".join(sorted(_DEFAULT_KEYS))
            self.report(self.find(key, line), f"unknown key '{key}' in [default] (known: {known})")
        return self.target(table["target"], self.find("target", line))

    def target(self, value: Any, line: int) -> Target | None:
        if value == IGNORE:
            return None
        if value not in _TARGETS:
            self.report(line, f"target {value!r} is not one of {', '.join(_TARGETS)}")
            return None
        return Target(value)

    def rule(self, table: dict[str, Any], line: int) -> Rule:
        for key in sorted(table.keys() - _RULE_KEYS):
            self.report(self.find(key, line), f"unknown key '{key}' (known: {', '.join(sorted(_RULE_KEYS))})")
        name = table.get("name")
        name = name if isinstance(name, str) else ""
        if not name.strip():
            self.report(line, "a rule needs a name, which entries and logs give as the reason")
        if "target" not in table:
            self.report(line, f"a rule needs a target: one of {', '.join(_TARGETS)}")
        target = self.target(table["target"], self.find("target", line)) if "target" in table else None
        hours, asking = self.hours(table.get("hours"), line), self.asking(table, line)
        rule = Rule(name=name, line=line, target=target, hours=hours, asking=asking)
        for word, (attribute, allowed) in _WORDS.items():
            if word in table:
                values: Any = self.values(word, table[word], allowed, self.find(word, line))
                rule = replace(rule, **{attribute: values})
        return rule

    def asking(self, table: dict[str, Any], line: int) -> Asking:
        """Return the people whom a table asks for; whether the queue exists is checked with the queues."""
        queue, skills, priority = table.get("queue", ""), table.get("skills", []), table.get("priority", 0)
        if "queue" in table and (not isinstance(queue, str) or not queue.strip()):
            self.report(self.find("queue", line), f"queue must be the name of a queue, not {queue!r}")
        skills = [skills] if isinstance(skills, str) else skills
        if not isinstance(skills, list) or not all(isinstance(one, str) and one.split() == [one] for one in skills):
            self.report(self.find("skills", line), f"skills must be a word or a list of words, not {skills!r}")
            skills = []
        if not isinstance(priority, int) or isinstance(priority, bool) or not 0 <= priority <= MAX_PRIORITY:
            wanted = f"a whole number from 0 to {MAX_PRIORITY}"
            self.report(self.find("priority", line), f"priority must be {wanted}, not {priority!r}")
            priority = 0
        if table.get("target") in (Target.AI_AGENT, IGNORE):  # no set: the value may be of any type
            for key in sorted(_ASKING & table.keys()):
                reason = f"{key} is for the target {Target.HUMAN_AGENT}: an AI agent asks for people by a command"
                self.report(self.find(key, line), reason)
        return Asking(str(queue), tuple(skills), priority, self.burst(table, line))

    def burst(self, table: dict[str, Any], line: int) -> Burst | None:
        """Return a table's burst, None if it has none or a wrong one."""
        burst = table.get("burst")
        if burst is None:
            return None
        line = self.find("burst", line)
        if not isinstance(burst, dict):
            self.report(line, f"burst must be a table such as {{ quiet = 1.5, most = 8 }}, not {burst!r}")
            return None
        for key in sorted(burst.keys() - _BURST_KEYS):
            self.report(line, f"unknown key '{key}' in burst (known: {', '.join(sorted(_BURST_KEYS))})")
        if table.get("target") == IGNORE:
            self.report(line, f"burst is for participants who have a target, not for {IGNORE}")
        quiet, most = burst.get("quiet"), burst.get("most")
        if not (_is_seconds(quiet) and _is_seconds(most)):
            self.report(line, "burst needs quiet and most, both in seconds")
        elif not MIN_QUIET <= quiet <= most <= MAX_BURST:
            limits = f"{MIN_QUIET} <= quiet <= most <= {MAX_BURST}"
            self.report(line, f"burst must have {limits} (seconds), not quiet = {quiet}, most = {most}")
        else:
            return Burst(float(quiet), float(most))
        return None

    def values(
        self, word: str, value: Any, allowed: tuple[str, ...] | None, line: int
    ) -> frozenset[str] | tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
            self.report(line, f"{word} must be a text or a list of texts, not {value!r}")
            return frozenset()
        for text in texts:
            if allowed is not None and text not in allowed:
                self.report(line, f"{word} {text!r} is not one of {', '.join(allowed)}")
            if word == "account" and not _ACCOUNT.fullmatch(text):
                self.report(line, f"account {text!r} is not an account SID: AC and 32 hexadecimal digits")
        if word == "recipient":
            return frozenset(canonical_recipient(text) for text in texts)
        if word == "customer_prefix":
            return tuple(sorted(canonical_recipient(text) for text in texts))
        return frozenset(texts)

    def hours(self, table: Any, line: int) -> Hours | None:
        if table is None:
            return None
        line = self.find("hours", line)
        return HoursReader(lambda reason: self.report(line, reason)).read(table)

    def check_names(self, rules: list[Rule]) -> None:
        lines: dict[str, int] = {}
        for rule in rules:
            if rule.name in lines:
                self.report(rule.line, f"the name '{rule.name}' is used by the rule on line {lines[rule.name]}")
            if rule.name.strip():
                lines.setdefault(rule.name, rule.line)

    def check_reachable(self, rules: list[Rule]) -> None:
        """Find rules that can never decide, among those without mistakes."""
        for index, later in enumerate(rules):
            for earlier in rules[:index]:
                if covers(earlier, later):
                    reason = f"the rule '{earlier.name}' on line {earlier.line} matches everything that it could match"
                    self.report(later.line, f"the rule '{later.name}' can never decide: {reason}")
                    break


def _is_seconds(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
