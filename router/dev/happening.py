"""The happenings that `dev` shows: one value for each, wherever it was read; two about one event become one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from router.process.terminal import Style


class LineKind(Enum):
    """The kinds of lines: the sign of each, the same in ASCII, its style, and what it means."""

    HEARD = ("→", ">", Style.PLAIN, "a customer")
    SAID = ("←", "<", Style.GREEN, "our side")
    HANDOFF = ("⇄", "^", Style.MAGENTA, "handoff")
    NOTE = ("·", ".", Style.FAINT, "note")
    REPEAT = ("=", "=", Style.FAINT, "repeat")
    WAITS = ("~", "~", Style.YELLOW, "waits")
    REFUSED = ("✗", "x", Style.RED, "refused")
    DEAD = ("✝", "+", Style.RED, "dead letter")
    TROUBLE = ("!", "!", Style.RED, "trouble")
    WELL = ("✓", "v", Style.BLUE, "well again")

    @property
    def style(self) -> Style:
        """The style in a terminal with colors."""
        return self.value[2]

    def sign(self, *, is_plain: bool = False) -> str:
        """Return the sign, in ASCII if `is_plain`."""
        return self.value[1] if is_plain else self.value[0]

    def explain(self, *, is_plain: bool = False) -> str:
        """Return the sign and what it means."""
        return f"{self.sign(is_plain=is_plain)} {self.value[3]}"


#: All signs, to find out whether an output has them.
SIGNS: Final = "".join(kind.sign() for kind in LineKind)


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of `dev`.

    `at` is when it happened (µs since 1970). `who`: the channel of a customer, a person, or a process. `text` may come
    from outside, and `remark` says what it led to. `customer` is a masked address; where it is not known, the
    `conversation` or the idempotency `key` may tell it later. Happenings with the `same` name, unless it is empty,
    become one line. `ids` are shown on request, and so are happenings that `is_detail`.
    """

    at: int
    kind: LineKind
    who: str
    text: str = ""
    remark: str = ""
    customer: str = ""
    conversation: str = ""
    key: str = ""
    same: str = ""
    times: int = 1
    ids: dict[str, str] = field(default_factory=dict)
    is_detail: bool = False

    def with_other(self, other: Happening) -> Happening:
        """Return one happening for two with the same name: each has what the other lacks."""
        return replace(
            self,
            text=self.text or other.text,
            remark=self.remark or other.remark,
            customer=self.customer or other.customer,
            conversation=self.conversation or other.conversation,
            times=self.times + other.times,
            ids=other.ids | self.ids,
            is_detail=self.is_detail and other.is_detail,
        )
