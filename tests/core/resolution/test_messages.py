"""Resolution, driven with plain values: which requests it makes of which answers, and where it ends."""

import pytest

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
from router.core.resolution.messages import (
    MANY,
    ROUNDS,
    MessageResolver,
    fetch_surroundings,
    resolve_communication,
)
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
    Surroundings,
    Unusable,
    Wait,
)
from router.core.resolution.setbacks import LONG_WAIT, SHORT_WAIT
from router.core.resources import ParticipantAddress
from tests.core.builders import (
    CONVERSATION,
    CUSTOMER,
    DESK,
    MESSAGE_SID,
    OTHER,
    make_communication,
    make_conversation,
    make_message,
    make_participant,
)
from tests.support.accounts import CONFIGURATION

ANA = make_participant("p1", CUSTOMER)
BOT = make_participant("p2", DESK, type="AI_AGENT")
UNKNOWN_ANA = make_participant("p1", CUSTOMER, type="UNKNOWN", name="+14155550101", profile_id="mem_1")
UNKNOWN_BOT = make_participant("p2", DESK, type="UNKNOWN", name="+15557650001")
NEW = make_conversation(CONVERSATION, ANA, BOT)
BARE = make_conversation()

CREATE = CreateConversation
FIND, LIST, ADD, FETCH, PUT = (
    FindConversations,
    ListParticipants,
    CreateParticipant,
    FetchConversation,
    ReplaceParticipant,
)

EXISTS = ConflictError("exists", status=409, conflicting_id=CONVERSATION)
NAMELESS = ConflictError("exists", status=409)
ELSEWHERE = ConflictError("exists", status=409, conflicting_id=OTHER)
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


def resolve(*answers, is_unsure=False, message=None, **options):
    """Drive the resolution of a message; return the types of its requests and the outcome."""
    resolver = MessageResolver(CONFIGURATION, **options)
    requests, outcome = drive(resolver.resolve(message or make_message(), is_unsure=is_unsure), *answers)
    return [type(request) for request in requests], outcome


# --- a conversation that is new -------------------------------------------------------------------


def test_created_with_both_participants():
    """A new conversation costs one call, which carries both participants, the customer's with the message's SID."""
    requests, outcome = drive(MessageResolver(CONFIGURATION, "AGENT").resolve(make_message()), NEW)
    (request,) = requests
    assert request.configuration_id == CONFIGURATION
    customer, ours = request.participants
    assert customer.type == "CUSTOMER"
    assert customer.addresses == (ParticipantAddress(channel="SMS", address=CUSTOMER.value, channel_id=MESSAGE_SID),)
    assert ours.type == "AGENT"
    assert ours.addresses == (ParticipantAddress(channel="SMS", address=DESK.value),)
    assert outcome == Resolved(CONVERSATION, ANA, "created", NEW, (BOT,))


def test_our_side_is_an_ai_agent_unless_told():
    """Without another type our side of a conversation that we open is an AI agent."""
    requests, _ = drive(MessageResolver(CONFIGURATION).resolve(make_message()), NEW)
    assert requests[0].participants[1].type == "AI_AGENT"


def test_created_with_the_customer_only():
    """Where our side did not come back with the conversation, it was not seen."""
    alone = make_conversation(CONVERSATION, ANA)
    assert resolve(alone) == ([CREATE], Resolved(CONVERSATION, ANA, "created", alone, ()))


@pytest.mark.parametrize("told", [None, ()], ids=["not-told", "empty"])
def test_created_without_embedded_participants(told):
    """Where the answer leaves the participants out they are listed, and it is still we who created them."""
    bare = make_conversation(participants=told)
    assert resolve(bare, [ANA, BOT]) == ([CREATE, LIST], Resolved(CONVERSATION, ANA, "created", bare, (BOT,)))


def test_matching_is_on_canonical_addresses():
    """What the API answers in another spelling is the same address, and a CUSTOMER goes before others, then age."""
    message = make_message(Address("WHATSAPP", "whatsapp:+14155550101"), Address("WHATSAPP", "whatsapp:+15557650001"))
    plain = Address("WHATSAPP", "+14155550101")
    oldest = make_participant("p0", plain, type="UNKNOWN", created_at="2025-01-01T00:00:00Z")
    first = make_participant("p9", plain, created_at="2026-01-01T00:00:00Z")
    second = make_participant("p5", plain, created_at="2026-01-02T00:00:00Z")
    new = make_conversation(CONVERSATION, oldest, second, first)
    assert resolve(new, message=message) == ([CREATE], Resolved(CONVERSATION, first, "created", new, ()))


# --- a conversation that exists -------------------------------------------------------------------


def test_conflict_names_the_conversation():
    """A 409 with an id costs one more call: the participants of the conversation that it names."""
    requests, outcome = drive(MessageResolver(CONFIGURATION).resolve(make_message()), EXISTS, [BOT, ANA])
    assert requests[1] == ListParticipants(CONVERSATION)
    assert outcome == Resolved(CONVERSATION, ANA, "found", None, (BOT,))


def test_conflict_without_a_name():
    """A 409 without an id is looked up among the open conversations, in which other configurations do not count."""
    found = [
        make_conversation("c-other", ANA, configuration_id="conv_configuration_other"),
        make_conversation("c-bare"),
        make_conversation(OTHER, BOT),
        make_conversation(CONVERSATION, ANA, configuration_id=None),
    ]
    requests, outcome = drive(MessageResolver(CONFIGURATION).resolve(make_message()), NAMELESS, found, [ANA])
    assert requests[1:] == [FindConversations(), ListParticipants(CONVERSATION)]
    assert outcome == Resolved(CONVERSATION, ANA, "found", found[3], ())


def test_conflict_that_nobody_can_explain():
    """A 409 that names nothing, where nothing open has the address, is nothing that waiting mends."""
    types, outcome = resolve(NAMELESS, [make_conversation(OTHER, BOT)])
    assert types == [CREATE, FIND]
    assert isinstance(outcome, Unusable)


def test_both_unknown_are_repaired():
    """UNKNOWN participants get the type that the message proves, by a PUT that carries all four fields."""
    repaired = UNKNOWN_ANA.model_copy(update={"type": "CUSTOMER"})
    ours = UNKNOWN_BOT.model_copy(update={"type": "AGENT"})
    requests, outcome = drive(
        MessageResolver(CONFIGURATION, "AGENT").resolve(make_message()),
        EXISTS,
        [UNKNOWN_ANA, UNKNOWN_BOT],
        repaired,
        ours,
    )
    assert [type(request) for request in requests] == [CREATE, LIST, PUT, PUT]
    assert (requests[2].conversation_id, requests[2].participant_id) == (CONVERSATION, "p1")
    assert requests[2].participant.to_wire() == {
        "type": "CUSTOMER",
        "name": "+14155550101",
        "profileId": "mem_1",
        "addresses": [{"channel": "SMS", "address": CUSTOMER.value}],
    }
    assert (requests[3].participant_id, requests[3].participant.type) == ("p2", "AGENT")
    assert requests[3].participant.name == "+15557650001"
    assert outcome == Resolved(CONVERSATION, repaired, "found", None, (ours,))


def test_missing_type_is_repaired_like_unknown():
    """A participant without a type is as good as an UNKNOWN one."""
    untyped = make_participant("p1", CUSTOMER, type=None)
    assert resolve(EXISTS, [untyped, BOT], ANA)[0] == [CREATE, LIST, PUT]


@pytest.mark.parametrize("refusal", [EXISTS, REFUSED, GONE], ids=["409", "400", "404"])
def test_a_repair_that_is_refused_leaves_it_unknown(refusal):
    """A repair that the API refuses is given up: UNKNOWN participants are announced all the same."""
    types, outcome = resolve(EXISTS, [UNKNOWN_ANA, UNKNOWN_BOT], refusal, refusal)
    assert types == [CREATE, LIST, PUT, PUT]
    assert outcome == Resolved(CONVERSATION, UNKNOWN_ANA, "found", None, (UNKNOWN_BOT,))


# --- a customer who is missing --------------------------------------------------------------------


def test_missing_customer_is_added():
    """A conversation without the customer gets it, findable by the message's SID."""
    requests, outcome = drive(MessageResolver(CONFIGURATION).resolve(make_message()), EXISTS, [BOT], ANA)
    assert requests[2].conversation_id == CONVERSATION
    assert requests[2].participant.type == "CUSTOMER"
    assert requests[2].participant.addresses[0].channel_id == MESSAGE_SID
    assert outcome == Resolved(CONVERSATION, ANA, "created", None, (BOT,))


def test_missing_customer_and_missing_side():
    """Our side is reported as seen only if it was."""
    assert resolve(EXISTS, [], ANA) == ([CREATE, LIST, ADD], Resolved(CONVERSATION, ANA, "created", None, ()))


CROWD = [make_participant(f"x{number}", Address("CHAT", f"user-{number}")) for number in range(MANY)]


def test_customer_who_is_missed_in_a_long_list_is_looked_for_again():
    """A page may have shifted while others came and went: nobody is added before a second look."""
    requests, outcome = resolve(EXISTS, CROWD, [*CROWD, ANA])
    assert requests == [CREATE, LIST, LIST]
    assert (outcome.participant, outcome.origin) == (ANA, "found")


@pytest.mark.parametrize(
    ("second", "types"),
    [(CROWD, [CREATE, LIST, LIST, ADD]), (BROKEN, [CREATE, LIST, LIST]), (CROWD[1:], [CREATE, LIST, LIST, ADD])],
    ids=["twice", "an outage", "fewer"],
)
def test_second_look_in_vain(second, types):
    """Who is in neither list is added; where the second one fails nothing is done."""
    answers = [EXISTS, CROWD, second] + ([ANA] if ADD in types else [])
    requests, outcome = resolve(*answers)
    assert requests == types
    assert isinstance(outcome, Resolved if ADD in types else Wait)


def test_author_who_is_missed_in_a_long_list_is_looked_for_again():
    """What was said is not ignored for a page that shifted."""
    event = make_communication(author={"address": CUSTOMER.value, "channel": "SMS"})
    requests, outcome = drive(resolve_communication(event), CROWD, [ANA])
    assert ([type(request) for request in requests], outcome.participant) == ([LIST, LIST], ANA)


@pytest.mark.parametrize("answer", [EXISTS, LOST, BROKEN, REFUSED], ids=["409", "no-answer", "503", "400"])
def test_add_then_found(answer):
    """Whatever the POST of the participant came to, who is in the list afterwards is there."""
    assert resolve(EXISTS, [], answer, [ANA]) == (
        [CREATE, LIST, ADD, LIST],
        Resolved(CONVERSATION, ANA, "found", None, ()),
    )


@pytest.mark.parametrize("fetched", [make_conversation(status="CLOSED"), GONE], ids=["closed", "vanished"])
def test_add_refused_by_a_conversation_that_has_ended(fetched):
    """A conversation that closed under our hands is left for the one that follows it."""
    types, outcome = resolve(EXISTS, [], EXISTS, [], fetched, NEW)
    assert types == [CREATE, LIST, ADD, LIST, FETCH, CREATE]
    assert outcome == Resolved(CONVERSATION, ANA, "created", NEW, (BOT,))


def test_add_refused_because_of_another_conversation():
    """A 409 that names another conversation leads to the customer in it."""
    requests, outcome = drive(
        MessageResolver(CONFIGURATION).resolve(make_message()), EXISTS, [], ELSEWHERE, [], make_conversation(), [ANA]
    )
    assert [type(request) for request in requests] == [CREATE, LIST, ADD, LIST, FETCH, LIST]
    assert requests[-1] == ListParticipants(OTHER)
    assert outcome == Resolved(OTHER, ANA, "found")


@pytest.mark.parametrize(
    ("answers", "types"),
    [
        pytest.param([ELSEWHERE, [], make_conversation(), [BOT]], [LIST, FETCH, LIST], id="other-without-the-customer"),
        pytest.param([EXISTS, [], make_conversation()], [LIST, FETCH], id="itself"),
        pytest.param([NAMELESS, [], make_conversation()], [LIST, FETCH], id="no-name"),
        pytest.param([REFUSED, [], make_conversation()], [LIST, FETCH], id="400"),
    ],
)
def test_add_refused_for_good(answers, types):
    """An open conversation that refuses the customer, who is in no other either, makes the event unusable."""
    requests, outcome = resolve(EXISTS, [], *answers)
    assert requests == [CREATE, LIST, ADD, *types]
    assert isinstance(outcome, Unusable)


def test_other_conversation_has_vanished():
    """Where the other conversation that a 409 names is gone by now, it all begins anew."""
    types, outcome = resolve(EXISTS, [], ELSEWHERE, [], make_conversation(), GONE, NEW)
    assert types == [CREATE, LIST, ADD, LIST, FETCH, LIST, CREATE]
    assert outcome.origin == "created"


# --- conversations that vanish --------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers", [[EXISTS, GONE], [EXISTS, [], REFUSED, GONE]], ids=["at-the-first-list", "at-the-second-list"]
)
def test_vanished_conversation(answers):
    """A conversation that a 409 names and that is gone by now is resolved once more."""
    types, outcome = resolve(*answers, NEW)
    assert types[-1] is CREATE
    assert outcome == Resolved(CONVERSATION, ANA, "created", NEW, (BOT,))


def test_rounds_are_bounded():
    """Conversations that keep vanishing make the event wait."""
    types, outcome = resolve(*[EXISTS, GONE] * ROUNDS)
    assert types == [CREATE, LIST] * ROUNDS
    assert outcome == Wait("its conversations keep closing", SHORT_WAIT)


# --- POSTs whose fate is unknown ------------------------------------------------------------------


@pytest.mark.parametrize("answer", [LOST, BROKEN], ids=["no-answer", "503"])
def test_unknown_fate_then_found(answer):
    """A POST whose fate is unknown is looked up by the message's SID, and what is found is what it did."""
    requests, outcome = drive(
        MessageResolver(CONFIGURATION).resolve(make_message()), answer, [make_conversation()], [ANA, BOT]
    )
    assert requests[1:] == [FindConversations(MESSAGE_SID), ListParticipants(CONVERSATION)]
    assert outcome == Resolved(CONVERSATION, ANA, "found", None, (BOT,))


def test_unknown_fate_then_not_found():
    """What left nothing behind had no effect and is repeated, once."""
    assert resolve(LOST, [], NEW)[0] == [CREATE, FIND, CREATE]
    types, outcome = resolve(LOST, [], BROKEN)
    assert types == [CREATE, FIND, CREATE]
    assert outcome == Wait("creating the conversation: ServerError 503", SHORT_WAIT, is_unsure=True)


def test_unsure_from_before():
    """An event that was tried before is looked up before anything is created."""
    assert resolve([], NEW, is_unsure=True)[0] == [FIND, CREATE]
    assert resolve([make_conversation()], [ANA], is_unsure=True)[0] == [FIND, LIST]


def test_what_was_found_has_vanished():
    """What a lookup found and a list no longer does is gone, so that a new one may be created."""
    assert resolve([make_conversation()], GONE, NEW, is_unsure=True)[0] == [FIND, LIST, CREATE]


@pytest.mark.parametrize(
    ("answer", "delay"),
    [
        pytest.param(BUSY, 7.0, id="429"),
        pytest.param(LOCKED, LONG_WAIT, id="401"),
        pytest.param(BROKEN, SHORT_WAIT, id="503"),
        pytest.param(UNSENT, SHORT_WAIT, id="not-sent"),
    ],
)
def test_a_lookup_that_fails_keeps_the_doubt(answer, delay):
    """While the lookup gets no answer the event waits as long as it must, and the doubt stays."""
    types, outcome = resolve(LOST, answer)
    assert types == [CREATE, FIND]
    assert isinstance(outcome, Wait)
    assert (outcome.delay, outcome.is_unsure) == (delay, True)


def test_a_lookup_that_is_refused():
    """A lookup that the API refuses will not become right by waiting."""
    assert isinstance(resolve(REFUSED, is_unsure=True)[1], Unusable)


# --- outages --------------------------------------------------------------------------------------

#: Requests of a resolution, each with the answers that lead to it.
PATHS = [
    pytest.param([], CREATE, id="create"),
    pytest.param([NAMELESS], FIND, id="find-after-409"),
    pytest.param([EXISTS], LIST, id="list"),
    pytest.param([EXISTS, [UNKNOWN_ANA, BOT]], PUT, id="repair-customer"),
    pytest.param([EXISTS, [ANA, UNKNOWN_BOT]], PUT, id="repair-our-side"),
    pytest.param([EXISTS, []], ADD, id="add"),
    pytest.param([EXISTS, [], EXISTS], LIST, id="list-again"),
    pytest.param([EXISTS, [], EXISTS, []], FETCH, id="fetch"),
    pytest.param([EXISTS, [], ELSEWHERE, [], make_conversation()], LIST, id="list-another"),
]
#: A lost answer to these is not the end: what the POST did is looked up at once.
POSTS = {CREATE, ADD}


@pytest.mark.parametrize(("answers", "asked"), PATHS)
@pytest.mark.parametrize(
    ("answer", "delay"),
    [
        pytest.param(BUSY, 7.0, id="429"),
        pytest.param(LOCKED, LONG_WAIT, id="401"),
        pytest.param(UNSENT, SHORT_WAIT, id="not-sent"),
    ],
)
def test_not_processed(answers, asked, answer, delay):
    """What was certainly not processed makes the event wait, as long as the API or the operator needs."""
    types, outcome = resolve(*answers, answer)
    assert types[-1] is asked
    assert isinstance(outcome, Wait)
    assert (outcome.delay, outcome.is_unsure) == (delay, False)


@pytest.mark.parametrize(("answers", "asked"), [path for path in PATHS if path.values[1] not in POSTS])
@pytest.mark.parametrize("answer", [BROKEN, LOST], ids=["503", "no-answer"])
def test_outage(answers, asked, answer):
    """An outage on any request makes the event wait, never unusable."""
    types, outcome = resolve(*answers, answer)
    assert types[-1] is asked
    assert isinstance(outcome, Wait)
    assert outcome.delay == SHORT_WAIT


def test_outage_of_the_post_of_a_participant():
    """A participant whose POST got lost and who is not in the list makes the event wait, in doubt."""
    types, outcome = resolve(EXISTS, [], LOST, [])
    assert types == [CREATE, LIST, ADD, LIST]
    assert outcome == Wait("adding the participant: TransportError", SHORT_WAIT, is_unsure=True)


@pytest.mark.parametrize(
    "answers",
    [[REFUSED], [GONE], [NAMELESS, REFUSED], [EXISTS, REFUSED], [EXISTS, [], EXISTS, REFUSED]],
    ids=["create", "create-404", "find", "list", "list-again"],
)
def test_refusals(answers):
    """What the API refuses as wrong is the event's own fault, with what was being done in the reason."""
    _, outcome = resolve(*answers)
    assert isinstance(outcome, Unusable)
    assert ": RequestError 400 no" in outcome.reason or ": NotFoundError 404 gone" in outcome.reason


def test_fetch_that_is_refused():
    """A conversation that may not be looked at cannot explain its refusal."""
    assert isinstance(resolve(EXISTS, [], EXISTS, [], REFUSED)[1], Unusable)


def test_waiting_has_a_delay_of_its_own():
    """Where the API does not say how long to wait, it is a short while."""
    assert resolve(RateLimitError("slow down", status=429))[1].delay == SHORT_WAIT


# --- surroundings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answers", "types", "outcome"),
    [
        pytest.param([NEW], [FETCH], Surroundings((ANA, BOT), NEW), id="embedded"),
        pytest.param([BARE, [ANA]], [FETCH, LIST], Surroundings((ANA,), BARE), id="listed"),
        pytest.param([BARE, []], [FETCH, LIST], Surroundings((), BARE), id="nobody"),
        pytest.param([GONE], [FETCH], Surroundings(), id="gone"),
        pytest.param([BARE, GONE], [FETCH, LIST], Surroundings(), id="gone-meanwhile"),
    ],
)
def test_exploring(answers, types, outcome):
    """What the policy may want to know of a conversation is its resource and who is in it, or that it is gone."""
    requests, found = drive(fetch_surroundings(CONVERSATION), *answers)
    assert [type(request) for request in requests] == types
    assert all(request.conversation_id == CONVERSATION for request in requests)
    assert found == outcome


@pytest.mark.parametrize("before", [[], [BARE]], ids=["fetch", "list"])
@pytest.mark.parametrize(
    ("answer", "kind"), [(BROKEN, Wait), (BUSY, Wait), (LOST, Wait), (LOCKED, Wait), (REFUSED, Unusable)]
)
def test_exploring_in_an_outage(before, answer, kind):
    """An outage makes exploring wait, a refusal makes it unusable."""
    _, outcome = drive(fetch_surroundings(CONVERSATION), *before, answer)
    assert isinstance(outcome, kind)


# --- communications -------------------------------------------------------------------------------


def communicate(event, *answers):
    """Drive the resolution of a communication."""
    return drive(resolve_communication(event), *answers)


def test_author_by_id():
    """The author of a communication is one call away."""
    assert communicate(make_communication(), ANA) == (
        [FetchParticipant(CONVERSATION, "p1")],
        Resolved(CONVERSATION, ANA, "found"),
    )


@pytest.mark.parametrize(
    ("author", "answers"),
    [
        pytest.param({"participantId": "p0"}, [GONE], id="id-is-gone"),
        pytest.param({}, [], id="no-id"),
    ],
)
def test_author_by_address(author, answers):
    """An author without an id, or with one that is gone, is looked for at its address."""
    event = make_communication(author={"address": CUSTOMER.value, "channel": "SMS"} | author)
    requests, outcome = communicate(event, *answers, [BOT, ANA])
    assert requests[-1] == ListParticipants(CONVERSATION)
    assert outcome == Resolved(CONVERSATION, ANA, "found")


@pytest.mark.parametrize(
    ("event", "answers", "reason"),
    [
        pytest.param(make_communication(author=None), [], "a communication without author", id="no-author"),
        pytest.param(
            make_communication(conversation_id=""), [], "without author or conversation", id="no-conversation"
        ),
        pytest.param(make_communication(), [GONE, GONE], "no longer exists", id="conversation-gone"),
        pytest.param(make_communication(), [GONE, [BOT]], "its author is no participant", id="not-there"),
    ],
)
def test_communication_of_nobody(event, answers, reason):
    """A communication whose author cannot be there any more is ignored, with the reason."""
    _, outcome = communicate(event, *answers)
    assert isinstance(outcome, Ignored)
    assert reason in outcome.reason


@pytest.mark.parametrize("before", [[], [GONE]], ids=["fetch", "list"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(BROKEN, Wait, id="503"),
        pytest.param(BUSY, Wait, id="429"),
        pytest.param(LOST, Wait, id="no-answer"),
        pytest.param(LOCKED, Wait, id="401"),
        pytest.param(REFUSED, Unusable, id="400"),
    ],
)
def test_communication_in_an_outage(before, answer, kind):
    """An outage makes a communication wait, a refusal makes it unusable."""
    _, outcome = communicate(make_communication(), *before, answer)
    assert isinstance(outcome, kind)


def test_what_was_found_keeps_the_doubt_while_it_cannot_be_listed():
    """A lookup that found the conversation, and then a 429: the next try looks again instead of posting."""
    busy = RateLimitError("busy", status=429, retry_after=2.0)
    _, outcome = resolve([NEW], busy, is_unsure=True)
    assert outcome == Wait(outcome.reason, 2.0, is_unsure=True)


def test_a_conflict_that_names_nothing_is_worth_more_tries():
    """The conversation may have closed in between, so the event is not given up at once."""
    _, outcome = resolve(ConflictError("exists", status=409), [])
    assert outcome == Unusable(outcome.reason, is_certain=False)
