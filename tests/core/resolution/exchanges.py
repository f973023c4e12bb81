"""Requests by short names, answers of the API, and the driving of a resolution with them."""

from router.core.addresses import Address
from router.core.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    RequestError,
    ServerError,
    TransportError,
)
from router.core.resolution.messages import MANY
from router.core.resolution.requests import (
    CreateConversation,
    CreateParticipant,
    FetchConversation,
    FindConversations,
    ListParticipants,
    ReplaceParticipant,
)
from tests.core.builders import CONVERSATION, CUSTOMER, DESK, OTHER, make_conversation, make_participant

ANA = make_participant("p1", CUSTOMER)
BOT = make_participant("p2", DESK, type="AI_AGENT")
UNKNOWN_ANA = make_participant("p1", CUSTOMER, type="UNKNOWN", name="+14155550101", profile_id="mem_1")
UNKNOWN_BOT = make_participant("p2", DESK, type="UNKNOWN", name="+15557650001")
NEW = make_conversation(CONVERSATION, ANA, BOT)
BARE = make_conversation()
#: As many participants as may be the first page of a longer list, none of them on the customer's channel.
FULL_PAGE = [make_participant(f"x{number}", Address("CHAT", f"user-{number}")) for number in range(MANY)]

CREATE = CreateConversation
FIND, FETCH, LIST = FindConversations, FetchConversation, ListParticipants
ADD, PUT = CreateParticipant, ReplaceParticipant

EXISTS = ConflictError("exists", status=409, conflicting_id=CONVERSATION)
NAMELESS = ConflictError("exists", status=409)
HELD_ELSEWHERE = ConflictError("exists", status=409, conflicting_id=OTHER)
GONE = NotFoundError("gone", status=404)
REFUSED = RequestError("no", status=400)
BROKEN = ServerError("oops", status=503)
BUSY = RateLimitError("slow down", status=429, retry_after=7.0)
LOCKED = AuthenticationError("who?", status=401)
LOST = TransportError("reset")
UNSENT = TransportError("refused", is_sent=False)


def drive(resolution, *answers):
    """Answer the requests of a resolution in order; return the requests and the outcome, with no answer left over."""
    requests, remaining = [], list(answers)
    try:
        request = next(resolution)
        while True:
            requests.append(request)
            assert remaining, f"one request too many: {request}"
            request = resolution.send(remaining.pop(0))
    except StopIteration as stop:
        assert remaining == []
        return requests, stop.value
