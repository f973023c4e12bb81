"""Resolution of messages and communications with plain values: requests for given answers, and the outcome."""

import pytest

from router.core.addresses import Address
from router.core.errors import (
    ConflictError,
    RateLimitError,
)
from router.core.events import Person
from router.core.resolution.messages import (
    ROUNDS,
    MessageResolver,
    fetch_surroundings,
    resolve_communication,
)
from router.core.resolution.requests import (
    FetchParticipant,
    FindConversations,
    Ignored,
    ListParticipants,
    Resolved,
    Surroundings,
    Unusable,
    Wait,
)
from router.core.resolution.setbacks import COLLECTION, LONG_WAIT, SHORT_WAIT
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
from tests.core.resolution.exchanges import (
    ADD,
    ANA,
    BARE,
    BOT,
    BROKEN,
    BUSY,
    CREATE,
    EXISTS,
    FETCH,
    FIND,
    FULL_PAGE,
    GONE,
    HELD_ELSEWHERE,
    LIST,
    LOCKED,
    LOST,
    NAMELESS,
    NEW,
    PUT,
    REFUSED,
    UNKNOWN_ANA,
    UNKNOWN_BOT,
    UNSENT,
    drive,
)
from tests.support.accounts import CONFIGURATION


def resolve(*answers, is_unsure=False, message=None, **options):
    """Drive the resolution of a message; return the types of its requests and the outcome."""
    resolver = MessageResolver(CONFIGURATION, **options)
    requests, outcome = drive(resolver.resolve(message or make_message(), is_unsure=is_unsure), *answers)
    return [type(request) for request in requests], outcome


# --- a conversation that is new -------------------------------------------------------------------


def test_a_conversation_is_created_with_both_participants():
    """A new conversation needs one request with both participants, the customer with the message's SID."""
    requests, outcome = drive(MessageResolver(CONFIGURATION, "AGENT").resolve(make_message()), NEW)
    (request,) = requests
    assert request.configuration_id == CONFIGURATION
    customer, ours = request.participants
    assert customer.type == "CUSTOMER"
    assert customer.addresses == (ParticipantAddress(channel="SMS", address=CUSTOMER.value, channel_id=MESSAGE_SID),)
    assert ours.type == "AGENT"
    assert ours.addresses == (ParticipantAddress(channel="SMS", address=DESK.value),)
    assert outcome == Resolved(CONVERSATION, ANA, "created", NEW, (BOT,))


@pytest.mark.parametrize(
    ("person", "name"),
    [(Person(profile_name="Zoë 陳"), "Zoë 陳"), (Person(), "whatsapp:+14155550101")],
    ids=["profile name", "address"],
)
def test_created_participants_have_names(person, name):
    """A customer is named by the profile or else by the address as it is written, and our side by its address."""
    ends = {
        "customer": Address("WHATSAPP", "whatsapp:+14155550101"),
        "recipient": Address("WHATSAPP", "whatsapp:+1555"),
    }
    message = make_message(**ends, person=person)
    requests, _ = drive(MessageResolver(CONFIGURATION).resolve(message), EXISTS, [], ANA)
    create, _, add = requests
    assert [one.name for one in create.participants] == [name, "whatsapp:+1555"]
    assert add.participant.name == name


def test_a_repaired_participant_gets_a_name():
    """A participant that was UNKNOWN and nameless gets type and name with one request."""
    nameless = make_participant("p1", CUSTOMER, type="UNKNOWN", name=None)
    requests, _ = drive(MessageResolver(CONFIGURATION).resolve(make_message()), EXISTS, [nameless, BOT], ANA)
    assert (requests[2].participant.type, requests[2].participant.name) == ("CUSTOMER", CUSTOMER.value)


def test_our_side_is_an_ai_agent_by_default():
    """Our side of a created conversation is an AI_AGENT unless another type is given."""
    requests, _ = drive(MessageResolver(CONFIGURATION).resolve(make_message()), NEW)
    assert requests[0].participants[1].type == "AI_AGENT"


def test_an_answer_with_the_customer_only():
    """Our side is not reported if the created conversation does not contain it."""
    alone = make_conversation(CONVERSATION, ANA)
    assert resolve(alone) == ([CREATE], Resolved(CONVERSATION, ANA, "created", alone, ()))


@pytest.mark.parametrize("embedded", [None, ()], ids=["missing", "empty"])
def test_an_answer_without_participants_is_listed(embedded):
    """If the answer omits the participants they are listed, and the origin remains "created"."""
    bare = make_conversation(participants=embedded)
    assert resolve(bare, [ANA, BOT]) == ([CREATE, LIST], Resolved(CONVERSATION, ANA, "created", bare, (BOT,)))


def test_participants_are_matched_by_canonical_address():
    """Addresses match in any notation; a CUSTOMER goes before others, then the oldest."""
    message = make_message(Address("WHATSAPP", "whatsapp:+14155550101"), Address("WHATSAPP", "whatsapp:+15557650001"))
    plain = Address("WHATSAPP", "+14155550101")
    oldest = make_participant("p0", plain, type="UNKNOWN", created_at="2025-01-01T00:00:00Z")
    first = make_participant("p9", plain, created_at="2026-01-01T00:00:00Z")
    second = make_participant("p5", plain, created_at="2026-01-02T00:00:00Z")
    new = make_conversation(CONVERSATION, oldest, second, first)
    assert resolve(new, message=message) == ([CREATE], Resolved(CONVERSATION, first, "created", new, ()))


# --- a conversation that exists -------------------------------------------------------------------


def test_a_conflict_that_names_the_conversation_needs_one_more_request():
    """After a 409 with an id, the participants of that conversation are listed."""
    requests, outcome = drive(MessageResolver(CONFIGURATION).resolve(make_message()), EXISTS, [BOT, ANA])
    assert requests[1] == ListParticipants(CONVERSATION)
    assert outcome == Resolved(CONVERSATION, ANA, "found", None, (BOT,))


def test_a_conflict_without_a_name_searches_open_conversations():
    """After a 409 without an id, the open conversations of the same configuration are searched."""
    found = [
        make_conversation("c-other", ANA, configuration_id="conv_configuration_other"),
        make_conversation("c-bare"),
        make_conversation(OTHER, BOT),
        make_conversation(CONVERSATION, ANA, configuration_id=None),
    ]
    requests, outcome = drive(MessageResolver(CONFIGURATION).resolve(make_message()), NAMELESS, found, [ANA])
    assert requests[1:] == [FindConversations(), ListParticipants(CONVERSATION)]
    assert outcome == Resolved(CONVERSATION, ANA, "found", found[3], ())


def test_a_conflict_without_any_conversation_is_unusable():
    """A 409 without an id is unusable if no open conversation has the address."""
    types, outcome = resolve(NAMELESS, [make_conversation(OTHER, BOT)])
    assert types == [CREATE, FIND]
    assert isinstance(outcome, Unusable)


def test_unknown_participants_are_repaired():
    """UNKNOWN participants get the type that the message proves, by a PUT with all four fields."""
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


def test_a_missing_type_is_repaired_like_unknown():
    """A participant without a type is treated as UNKNOWN."""
    untyped = make_participant("p1", CUSTOMER, type=None)
    assert resolve(EXISTS, [untyped, BOT], ANA)[0] == [CREATE, LIST, PUT]


@pytest.mark.parametrize("refusal", [EXISTS, REFUSED, GONE], ids=["409", "400", "404"])
def test_a_refused_repair_leaves_the_participant_unknown(refusal):
    """If the API refuses the repair, the participant is resolved as UNKNOWN."""
    types, outcome = resolve(EXISTS, [UNKNOWN_ANA, UNKNOWN_BOT], refusal, refusal)
    assert types == [CREATE, LIST, PUT, PUT]
    assert outcome == Resolved(CONVERSATION, UNKNOWN_ANA, "found", None, (UNKNOWN_BOT,))


# --- a customer who is missing --------------------------------------------------------------------


def test_a_missing_customer_is_added():
    """A conversation without the customer gets it, with the message's SID as channelId."""
    requests, outcome = drive(MessageResolver(CONFIGURATION).resolve(make_message()), EXISTS, [BOT], ANA)
    assert requests[2].conversation_id == CONVERSATION
    assert requests[2].participant.type == "CUSTOMER"
    assert requests[2].participant.addresses[0].channel_id == MESSAGE_SID
    assert outcome == Resolved(CONVERSATION, ANA, "created", None, (BOT,))


def test_our_side_is_reported_only_if_present():
    """Our side is not reported if the conversation lacks it."""
    assert resolve(EXISTS, [], ANA) == ([CREATE, LIST, ADD], Resolved(CONVERSATION, ANA, "created", None, ()))


def test_a_long_list_that_lacks_the_customer_is_read_again():
    """The customer is added only if it is in neither of two readings of a long list."""
    requests, outcome = resolve(EXISTS, FULL_PAGE, [*FULL_PAGE, ANA])
    assert requests == [CREATE, LIST, LIST]
    assert (outcome.participant, outcome.origin) == (ANA, "found")


@pytest.mark.parametrize(
    ("second", "types"),
    [
        (FULL_PAGE, [CREATE, LIST, LIST, ADD]),
        (BROKEN, [CREATE, LIST, LIST]),
        (FULL_PAGE[1:], [CREATE, LIST, LIST, ADD]),
    ],
    ids=["twice", "an outage", "fewer"],
)
def test_a_customer_in_neither_list_is_added(second, types):
    """A customer in neither list is added; if the second reading fails, nothing is done."""
    answers = [EXISTS, FULL_PAGE, second] + ([ANA] if ADD in types else [])
    requests, outcome = resolve(*answers)
    assert requests == types
    assert isinstance(outcome, Resolved if ADD in types else Wait)


def test_a_long_list_that_lacks_the_author_is_read_again():
    """A communication is ignored only if its author is in neither of two readings of a long list."""
    event = make_communication(author={"address": CUSTOMER.value, "channel": "SMS"})
    requests, outcome = drive(resolve_communication(event), FULL_PAGE, [ANA])
    assert ([type(request) for request in requests], outcome.participant) == ([LIST, LIST], ANA)


@pytest.mark.parametrize("answer", [EXISTS, LOST, BROKEN, REFUSED], ids=["409", "no-answer", "503", "400"])
def test_a_customer_listed_after_the_post_is_taken(answer):
    """Whatever the POST was answered with, a customer that is then listed is taken."""
    assert resolve(EXISTS, [], answer, [ANA]) == (
        [CREATE, LIST, ADD, LIST],
        Resolved(CONVERSATION, ANA, "found", None, ()),
    )


@pytest.mark.parametrize("fetched", [make_conversation(status="CLOSED"), GONE], ids=["closed", "vanished"])
def test_a_refusal_by_a_closed_conversation_creates_another(fetched):
    """If the conversation has closed or vanished, the message is resolved once more."""
    types, outcome = resolve(EXISTS, [], EXISTS, [], fetched, NEW)
    assert types == [CREATE, LIST, ADD, LIST, FETCH, CREATE]
    assert outcome == Resolved(CONVERSATION, ANA, "created", NEW, (BOT,))


def test_a_refusal_for_another_conversation_leads_there():
    """A 409 that names another conversation leads to the customer in that one."""
    requests, outcome = drive(
        MessageResolver(CONFIGURATION).resolve(make_message()),
        EXISTS,
        [],
        HELD_ELSEWHERE,
        [],
        make_conversation(),
        [ANA],
    )
    assert [type(request) for request in requests] == [CREATE, LIST, ADD, LIST, FETCH, LIST]
    assert requests[-1] == ListParticipants(OTHER)
    assert outcome == Resolved(OTHER, ANA, "found")


@pytest.mark.parametrize(
    ("answers", "types"),
    [
        pytest.param(
            [HELD_ELSEWHERE, [], make_conversation(), [BOT]], [LIST, FETCH, LIST], id="other-without-the-customer"
        ),
        pytest.param([EXISTS, [], make_conversation()], [LIST, FETCH], id="itself"),
        pytest.param([NAMELESS, [], make_conversation()], [LIST, FETCH], id="no-name"),
        pytest.param([REFUSED, [], make_conversation()], [LIST, FETCH], id="400"),
    ],
)
def test_a_refusal_by_an_open_conversation_is_unusable(answers, types):
    """An event is unusable if an open conversation refuses the customer and no other has it."""
    requests, outcome = resolve(EXISTS, [], *answers)
    assert requests == [CREATE, LIST, ADD, *types]
    assert isinstance(outcome, Unusable)


def test_a_vanished_other_conversation_starts_over():
    """If the other conversation that a 409 names is gone, the message is resolved once more."""
    types, outcome = resolve(EXISTS, [], HELD_ELSEWHERE, [], make_conversation(), GONE, NEW)
    assert types == [CREATE, LIST, ADD, LIST, FETCH, LIST, CREATE]
    assert outcome.origin == "created"


# --- conversations that vanish --------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers", [[EXISTS, GONE], [EXISTS, [], REFUSED, GONE]], ids=["at-the-first-list", "at-the-second-list"]
)
def test_a_vanished_conversation_starts_over(answers):
    """If a conversation that a 409 names is gone, the message is resolved once more."""
    types, outcome = resolve(*answers, NEW)
    assert types[-1] is CREATE
    assert outcome == Resolved(CONVERSATION, ANA, "created", NEW, (BOT,))


def test_rounds_are_bounded():
    """Conversations that keep vanishing make the event wait."""
    types, outcome = resolve(*[EXISTS, GONE] * ROUNDS)
    assert types == [CREATE, LIST] * ROUNDS
    assert outcome == Wait("its conversations keep closing", SHORT_WAIT)


# --- POSTs whose answer was lost ------------------------------------------------------------------


@pytest.mark.parametrize("answer", [LOST, BROKEN], ids=["no-answer", "503"])
def test_a_lost_post_is_found_by_its_channel_id(answer):
    """After a lost answer, the conversation is looked up by the message's SID."""
    requests, outcome = drive(
        MessageResolver(CONFIGURATION).resolve(make_message()), answer, [make_conversation()], [ANA, BOT]
    )
    assert requests[1:] == [FindConversations(MESSAGE_SID), ListParticipants(CONVERSATION)]
    assert outcome == Resolved(CONVERSATION, ANA, "found", None, (BOT,))


def test_a_lost_post_without_effect_is_repeated_once():
    """A POST that left no conversation behind is repeated once."""
    assert resolve(LOST, [], NEW)[0] == [CREATE, FIND, CREATE]
    types, outcome = resolve(LOST, [], BROKEN)
    assert types == [CREATE, FIND, CREATE]
    assert outcome == Wait("creating the conversation: ServerError 503", SHORT_WAIT, is_unsure=True)


def test_an_unsure_event_is_looked_up_first():
    """An event that may have had an effect earlier is looked up before anything is created."""
    assert resolve([], NEW, is_unsure=True)[0] == [FIND, CREATE]
    assert resolve([make_conversation()], [ANA], is_unsure=True)[0] == [FIND, LIST]


def test_a_looked_up_conversation_that_vanished_is_created_anew():
    """If a conversation that was looked up is gone, another one is created."""
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
def test_a_failed_lookup_stays_unsure(answer, delay):
    """If the lookup fails the event waits as long as the API asks, still unsure."""
    types, outcome = resolve(LOST, answer)
    assert types == [CREATE, FIND]
    assert isinstance(outcome, Wait)
    assert (outcome.delay, outcome.is_unsure) == (delay, True)


def test_a_refused_lookup_is_unusable():
    """A lookup that the API refuses makes the event unusable."""
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
    pytest.param([EXISTS, [], HELD_ELSEWHERE, [], make_conversation()], LIST, id="list-another"),
]
#: After a lost answer to these, the effect of the POST is looked up at once.
POSTS = {CREATE, ADD}


@pytest.mark.parametrize(("answers", "expected"), PATHS)
@pytest.mark.parametrize(
    ("answer", "delay"),
    [
        pytest.param(BUSY, 7.0, id="429"),
        pytest.param(LOCKED, LONG_WAIT, id="401"),
        pytest.param(UNSENT, SHORT_WAIT, id="not-sent"),
    ],
)
def test_a_request_that_was_not_processed_waits(answers, expected, answer, delay):
    """A request that was certainly not processed makes the event wait, as long as the API asks."""
    types, outcome = resolve(*answers, answer)
    assert types[-1] is expected
    assert isinstance(outcome, Wait)
    assert (outcome.delay, outcome.is_unsure) == (delay, False)


@pytest.mark.parametrize(("answers", "expected"), [path for path in PATHS if path.values[1] not in POSTS])
@pytest.mark.parametrize("answer", [BROKEN, LOST], ids=["503", "no-answer"])
def test_an_outage_of_any_request_waits(answers, expected, answer):
    """An outage at any request makes the event wait, never unusable."""
    types, outcome = resolve(*answers, answer)
    assert types[-1] is expected
    assert isinstance(outcome, Wait)
    assert outcome.delay == SHORT_WAIT


def test_a_lost_participant_post_without_effect_waits_unsure():
    """If the POST of a participant got lost and the list lacks it, the event waits, unsure."""
    types, outcome = resolve(EXISTS, [], LOST, [])
    assert types == [CREATE, LIST, ADD, LIST]
    assert outcome == Wait("adding the participant: TransportError", SHORT_WAIT, is_unsure=True)


@pytest.mark.parametrize(
    "answers",
    [[REFUSED], [NAMELESS, REFUSED], [EXISTS, REFUSED], [EXISTS, [], EXISTS, REFUSED]],
    ids=["create", "find", "list", "list-again"],
)
def test_a_refused_request_is_unusable(answers):
    """A refusal makes the event unusable, with the request in the reason."""
    _, outcome = resolve(*answers)
    assert isinstance(outcome, Unusable)
    assert ": RequestError 400 no" in outcome.reason


@pytest.mark.parametrize(
    ("answers", "missing"),
    [([GONE], f"configuration {CONFIGURATION}"), ([NAMELESS, GONE], COLLECTION)],
    ids=["create", "find"],
)
def test_what_is_configured_and_not_found_makes_the_event_wait(answers, missing):
    """A 404 for what the event did not name is a wait for that, which the reason names."""
    _, outcome = resolve(*answers)
    assert outcome == Wait(outcome.reason, LONG_WAIT, missing=missing)
    assert missing in outcome.reason


def test_a_refused_fetch_is_unusable():
    """If fetching the conversation is refused too, the event is unusable."""
    assert isinstance(resolve(EXISTS, [], EXISTS, [], REFUSED)[1], Unusable)


def test_a_wait_without_retry_after_is_short():
    """If the API does not say how long to wait, SHORT_WAIT applies."""
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
def test_surroundings_are_the_conversation_and_its_participants(answers, types, outcome):
    """Surroundings are the conversation and its participants, embedded or listed; empty if it is gone."""
    requests, found = drive(fetch_surroundings(CONVERSATION), *answers)
    assert [type(request) for request in requests] == types
    assert all(request.conversation_id == CONVERSATION for request in requests)
    assert found == outcome


@pytest.mark.parametrize("before", [[], [BARE]], ids=["fetch", "list"])
@pytest.mark.parametrize(
    ("answer", "kind"), [(BROKEN, Wait), (BUSY, Wait), (LOST, Wait), (LOCKED, Wait), (REFUSED, Unusable)]
)
def test_an_outage_of_fetching_surroundings_waits(before, answer, kind):
    """An outage makes fetching surroundings wait, a refusal makes the event unusable."""
    _, outcome = drive(fetch_surroundings(CONVERSATION), *before, answer)
    assert isinstance(outcome, kind)


# --- communications -------------------------------------------------------------------------------


def communicate(event, *answers):
    """Drive the resolution of a communication."""
    return drive(resolve_communication(event), *answers)


def test_an_author_is_fetched_by_id():
    """An author with a participant id needs one request."""
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
def test_an_author_without_id_is_found_by_address(author, answers):
    """An author without an id, or with one that is gone, is found by its address."""
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
def test_a_communication_without_a_known_author_is_ignored(event, answers, reason):
    """A communication whose author is not in the conversation is ignored, with the reason."""
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
def test_an_outage_makes_a_communication_wait(before, answer, kind):
    """An outage makes a communication wait, a refusal makes it unusable."""
    _, outcome = communicate(make_communication(), *before, answer)
    assert isinstance(outcome, kind)


def test_a_lookup_that_cannot_be_listed_stays_unsure():
    """If the conversation is found but not listed, the event stays unsure and looks it up again."""
    busy = RateLimitError("busy", status=429, retry_after=2.0)
    _, outcome = resolve([NEW], busy, is_unsure=True)
    assert outcome == Wait(outcome.reason, 2.0, is_unsure=True)


def test_an_unexplained_conflict_is_not_certain():
    """The conversation may have closed in between, so the event is tried a few more times."""
    _, outcome = resolve(ConflictError("exists", status=409), [])
    assert outcome == Unusable(outcome.reason, is_certain=False)
