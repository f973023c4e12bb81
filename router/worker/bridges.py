"""Classic conversations in the worker: whose they are, and from an event and its ledger to an outcome.

The ledger of a classic conversation is kept under its `home`: its own SID, or the id of the v2 conversation that the
bridge tells it as. What that one tells by itself (who leaves, that it closes) is not taken from here as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from router.core.classic.members import is_classic, to_conversation
from router.core.classic.resolution import ClassicResolver
from router.core.classic.resources import ClassicConversation
from router.core.events import Change
from router.core.resolution.requests import FetchClassicConversation, FetchConversation
from router.worker.requests import perform

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router.core.classic.resolution import Bridge
    from router.core.errors import ApiError
    from router.core.events import ClassicReported
    from router.core.judging.work import Work
    from router.core.resources import Conversation
    from router.process.apis import Api


class Classic:
    """What classic conversations need to know of the accounts: service and bridge of each; `is_lookup` is a setting."""

    def __init__(self, apis: Iterable[Api], bridges: Mapping[str, Bridge], *, is_lookup: bool = False) -> None:
        self.is_lookup = is_lookup
        self._bridges = bridges
        self._resolvers = {
            api.account.sid: ClassicResolver(_service_of(api, bridges), bridges.get(api.account.sid)) for api in apis
        }

    def resolver(self, account_id: str) -> ClassicResolver:
        """Return the account's resolver."""
        return self._resolvers.get(account_id) or ClassicResolver()

    def is_bridged(self, account_id: str) -> bool:
        """Tell whether a classic conversation of the account may be one of v2 too."""
        return account_id in self._bridges

    def needs_home(self, event: ClassicReported) -> bool:
        """Tell whether it must be found out where the event's conversation is kept, before it can be judged."""
        return self.is_bridged(event.account_id) and event.kind != "conversation" and event.change is not Change.REMOVED


def _service_of(api: Api, bridges: Mapping[str, Bridge]) -> str | None:
    """Return the service that the account's classic calls go to: as configured, else the bridged one."""
    bridge = bridges.get(api.account.sid)
    return api.account.classic_service_sid or (bridge.service_sid if bridge else None)


def home_of(work: Work) -> str | None:
    """Return where the conversation of a classic event is kept, None where that is not known or has closed."""
    is_over = work.ledger is not None and work.ledger.is_closed
    return work.route.conversation_id if work.route is not None and not is_over else None


async def fetch_conversation(api: Api, conversation_id: str, service_sid: str | None) -> Conversation | ApiError:
    """Return a conversation of v2 or a classic one, an ApiError as a value."""
    answer: Conversation | ClassicConversation | ApiError
    if is_classic(conversation_id):
        answer = await perform(api, FetchClassicConversation(conversation_id, service_sid))
    else:
        answer = await perform(api, FetchConversation(conversation_id))
    return to_conversation(answer) if isinstance(answer, ClassicConversation) else answer
