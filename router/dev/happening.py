"""What `dev` shows: one value for each thing that happened, wherever it was read; two about one event become one."""

from __future__ import annotations

from dataclasses import field, replace
from enum import Enum
from typing import Final

from router.core.values import value
from router.process.terminal import Style


class LineKind(Enum):
    """The kinds of lines: the sign of each, the same in ASCII, and its style."""

    HEARD = ("→", ">", Style.PLAIN)
    SAID = ("←", "<", Style.GREEN)
    HANDOFF = ("⇄", "^", Style.MAGENTA)
    NOTE = ("·", ".", Style.FAINT)
    REPEAT = ("=", "=", Style.FAINT)
    WAITS = ("~", "~", Style.YELLOW)
    REFUSED = ("✗", "x", Style.RED)
    DEAD = ("✝", "+", Style.RED)
    TROUBLE = ("!", "!", Style.RED)
    WELL = ("✓", "v", Style.BLUE)

    @property
    def sign(self) -> str:
        """The sign in Unicode."""
        return self.value[0]

    @property
    def plain_sign(self) -> str:
        """The sign in ASCII."""
        return self.value[1]

    @property
    def style(self) -> Style:
        """The style in a terminal with colors."""
        return self.value[2]


#: All signs, to find out whether an output has them.
SIGNS: Final = "".join(kind.sign for kind in LineKind)


@value
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
