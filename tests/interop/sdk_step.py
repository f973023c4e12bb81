"""One call of both official SDKs: the operation as the sandbox's route and as the SDKs spell it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any, Final

#: Nobody listens there, and nothing leaves the machine.
HOOK: Final = "http://127.0.0.1:9/sandbox"
_STEP: Final = re.compile(r"\w+|\([^()]*\)")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call: `route` is its method and path, `{}` for each id; `at` and `verb` are the SDK's names.

    `keep` is `name=field`, the field of the response (`@` a header, dots a way down). `code` marks a refusal. `arm` is
    a fault of the sandbox for this request, `switches` change it before. `lost` names fields of the request that the
    response tells in another way. `rows` is the number of rows of a list. `needs` is the route of the step before that
    this one shows the effect of.
    """

    route: str
    at: str
    verb: str
    model: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    code: int | None = None
    keep: str = ""
    arm: dict[str, Any] = field(default_factory=dict)
    switches: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    lost: tuple[str, ...] = ()
    needs: str = ""

    @property
    def path(self) -> list[str | list[str]]:
        """The way from the client to the resource: attributes, and the arguments of calls."""
        return [
            [each.strip() for each in one[1:-1].split(",") if each.strip()] if one.startswith("(") else one
            for one in _STEP.findall(self.at)
        ]


def throttled(step: Step) -> Step:
    """Return the step refused once for too many requests."""
    return replace(step, status=429, code=20429, arm={"status": 429, "retryAfter": 1, "times": 1}, keep="", rows=None)


def address(number: str, channel: str = "SMS") -> dict[str, str]:
    """Return an address as participants have it."""
    return {"channel": channel, "address": number}
