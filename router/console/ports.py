"""Everything outside that pages work with; made once per process, and replaced in tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.console.desk.room import DeskRoom
    from router.console.hub import Hub
    from router.console.job_runner import JobRunner
    from router.console.samples import StreamSamples
    from router.console.users import UsersFile
    from router.core.keys import Keys
    from router.process.apis import Apis
    from router.settings.model import Settings
    from router.streams.client.connection import Redis
    from router.streams.store.audit import AuditLog
    from router.streams.store.sign_ins import SignIns


@dataclass(frozen=True, slots=True)
class ConsolePorts:
    """The connections and stores of a console; `clock` returns µs since 1970."""

    redis: Redis
    settings: Settings
    keys: Keys
    apis: Apis
    hub: Hub
    jobs: JobRunner
    samples: StreamSamples
    desk: DeskRoom
    audit: AuditLog
    sign_ins: SignIns
    users: UsersFile
    clock: Callable[[], int]
