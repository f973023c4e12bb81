"""Resolution for any sequence of answers: it ends, and repeats no POST without a lookup."""

from hypothesis import given, settings
from hypothesis import strategies as st

from router.core.errors import (
    AuthenticationError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    RequestError,
    ServerError,
    TransportError,
)
from router.core.resolution.messages import ROUNDS, MessageResolver, resolve_communication
from router.core.resolution.requests import (
    CreateConversation,
    CreateParticipant,
    FetchConversation,
    FetchParticipant,
    FindConversations,
    Ignored,
    ListParticipants,
    ReplaceParticipant,
    Resolved,
    Unusable,
    Wait,
)
from tests.core.builders import (
    CONVERSATION,
    CUSTOMER,
    DESK,
    OTHER,
    make_communication,
    make_conversation,
    make_message,
    make_participant,
)
from tests.support.accounts import CONFIGURATION

#: The most requests of one round: two POSTs of a conversation with a lookup in between, then the way to another one.
MOST_REQUESTS = ROUNDS * 9
POSTS = (CreateConversation, CreateParticipant)
LOOKUPS = (FindConversations, ListParticipants)

PARTICIPANTS = [
    make_participant("p1", CUSTOMER),
    make_participant("p1", CUSTOMER, type="UNKNOWN"),
    make_participant("p2", DESK, type="AI_AGENT"),
    make_participant("p2", DESK, type="UNKNOWN"),
    make_participant("p3", addresses=[]),
]
ERRORS = st.one_of(
    st.sampled_from(
        [
            AuthenticationError("a", status=401),
            NotFoundError("n", status=404),
            RateLimitError("r", status=429),
            RequestError("q", status=400),
            ServerError("s", status=503),
            TransportError("t"),
            TransportError("u", is_sent=False),
        ]
    ),
    st.sampled_from([None, CONVERSATION, OTHER]).map(
        lambda conflicting_id: ConflictError("c", status=409, conflicting_id=conflicting_id)
    ),
)
LISTS = st.lists(st.sampled_from(PARTICIPANTS), max_size=3)
CONVERSATIONS = st.builds(
    lambda conversation_id, people, status: make_conversation(conversation_id, *people, status=status),
    st.sampled_from([CONVERSATION, OTHER]),
    LISTS,
    st.sampled_from(["ACTIVE", "INACTIVE", "CLOSED", None]),
)
ANSWERS = {
    CreateConversation: CONVERSATIONS,
    FetchConversation: CONVERSATIONS,
    FindConversations: st.lists(CONVERSATIONS, max_size=2),
    ListParticipants: LISTS,
    FetchParticipant: st.sampled_from(PARTICIPANTS),
    CreateParticipant: st.sampled_from(PARTICIPANTS),
    ReplaceParticipant: st.sampled_from(PARTICIPANTS),
}


def drive(resolution, data):
    """Answer each request with a possible answer of the API; return the exchanges and the outcome."""
    exchanges = []
    try:
        request = next(resolution)
        while True:
            answer = data.draw(st.one_of(ERRORS, ANSWERS[type(request)]))
            exchanges.append((request, answer))
            assert len(exchanges) <= MOST_REQUESTS
            request = resolution.send(answer)
    except StopIteration as stop:
        return exchanges, stop.value


def is_without_effect(answer):
    """Return whether a POST with this answer certainly had no effect."""
    is_unsent = isinstance(answer, TransportError) and not answer.is_sent
    return is_unsent or isinstance(answer, RateLimitError)


@settings(max_examples=500)
@given(st.data(), st.booleans())
def test_no_post_is_repeated_without_a_lookup(data, is_unsure):
    """Any answers lead to an outcome within a bound, and no POST is repeated without a lookup in between."""
    message = make_message()
    exchanges, outcome = drive(MessageResolver(CONFIGURATION).resolve(message, is_unsure=is_unsure), data)
    assert isinstance(outcome, Resolved | Wait | Unusable)
    if isinstance(outcome, Resolved):
        assert outcome.participant in PARTICIPANTS
        assert outcome.conversation_id in {CONVERSATION, OTHER}
    posted = {CreateConversation: None} if is_unsure else {}
    for request, answer in exchanges:
        if isinstance(request, LOOKUPS):
            posted.clear()
        elif isinstance(request, POSTS):
            name = CreateConversation if isinstance(request, CreateConversation) else request
            assert name not in posted
            if not is_without_effect(answer):
                posted[name] = answer


@settings(max_examples=500)
@given(st.data(), st.booleans())
def test_an_outage_is_never_unusable(data, is_unsure):
    """If the last answer was an outage, the event waits."""
    exchanges, outcome = drive(MessageResolver(CONFIGURATION).resolve(make_message(), is_unsure=is_unsure), data)
    outages = (ServerError, TransportError, RateLimitError, AuthenticationError)
    if isinstance(exchanges[-1][1], outages):
        assert isinstance(outcome, Wait)
        assert outcome.delay > 0


@settings(max_examples=500)
@given(st.data())
def test_a_lost_post_stays_unsure(data):
    """An event that waits after a lost POST, without a lookup since, is unsure."""
    exchanges, outcome = drive(MessageResolver(CONFIGURATION).resolve(make_message()), data)
    request, answer = exchanges[-1]
    is_lost = isinstance(answer, ServerError) or (isinstance(answer, TransportError) and answer.is_sent)
    if isinstance(request, POSTS) and is_lost:
        assert outcome.is_unsure


@given(st.data(), st.sampled_from([None, "p1"]))
def test_a_communication_needs_two_reads_at_most(data, participant_id):
    """Any answers lead a communication to an outcome within two requests, neither of them a write."""
    author = {"address": CUSTOMER.value, "channel": "SMS", "participantId": participant_id}
    exchanges, outcome = drive(resolve_communication(make_communication(author=author)), data)
    assert isinstance(outcome, Resolved | Wait | Ignored | Unusable)
    assert len(exchanges) <= 2
    assert all(isinstance(request, FetchParticipant | ListParticipants) for request, _ in exchanges)
