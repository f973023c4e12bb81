"""The calls that tests/interop/sdks.py makes, in order: the table of the sandbox's operations as both SDKs spell them.

`$name` in a path or argument is what an earlier step kept. A step whose route the sandbox does not offer is skipped;
a route of the sandbox that no step names is reported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.interop.sdk_classic_steps import classic
from tests.interop.sdk_v2_steps import (
    actions,
    communications,
    configurations,
    conversations,
    ends,
    memory,
    participants,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.sdk_step import Step


def steps() -> Iterator[Step]:
    """Yield all steps."""
    yield from configurations()
    yield from conversations()
    yield from participants()
    yield from communications()
    yield from actions()
    yield from memory()
    yield from ends()
    for number, scope in enumerate(("", ".services($service)"), 1):
        yield from classic("/v1/Services/{}" if scope else "/v1", f"conversations.v1{scope}", f"+1555124000{number}")
