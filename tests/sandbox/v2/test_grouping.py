"""Which conversations may not be open at the same time: the keys as values, and the three grouping types over HTTP."""

from __future__ import annotations

import pytest

from router.sandbox.v2.grouping import NO_ANCHORS, NO_KEYS, Anchors, GroupingMember, keys_of
from tests.sandbox.harness import BY_ADDRESSES, BY_CHANNEL, BY_PROFILE, CUSTOMER, OURS, opening, pair, seat

GROUPINGS = (BY_CHANNEL, BY_ADDRESSES, BY_PROFILE)
OTHER = "+15550100002"
SALES = "+15550108888"
WA_CUSTOMER, WA_OURS = f"whatsapp:{CUSTOMER}", f"whatsapp:{OURS}"

#: name: first conversation, second conversation, which grouping types refuse the second
TABLE = {
    "the same pair on one channel": (pair(), pair(), GROUPINGS),
    "the same pair, differently spelled": (pair(), pair(customer="+1 (555) 010-0001"), GROUPINGS),
    "the same pair over SMS and WhatsApp": (
        pair(),
        pair("WHATSAPP", WA_CUSTOMER, WA_OURS),
        (BY_ADDRESSES, BY_PROFILE),
    ),
    "another customer": (pair(), pair(customer=OTHER), ()),
    "another number of ours": (pair(), pair(ours=SALES), (BY_PROFILE,)),
    "two strangers, then told apart": (
        [seat("UNKNOWN", CUSTOMER), seat("UNKNOWN", OURS)],
        pair(),
        GROUPINGS,
    ),
    "told apart, then two strangers": (pair(), [seat("UNKNOWN", CUSTOMER), seat("UNKNOWN", OURS)], GROUPINGS),
    "our number unknown with two customers": (
        [seat("CUSTOMER", CUSTOMER), seat("UNKNOWN", OURS)],
        [seat("CUSTOMER", OTHER), seat("UNKNOWN", OURS)],
        (),
    ),
    "one type for our side or another": (
        pair(),
        [seat("CUSTOMER", CUSTOMER), seat("HUMAN_AGENT", OURS)],
        GROUPINGS,
    ),
    "one profile on two addresses": (
        [seat("CUSTOMER", CUSTOMER, profileId="mem_profile_1"), seat("AGENT", OURS)],
        [seat("CUSTOMER", OTHER, profileId="mem_profile_1"), seat("AGENT", OURS)],
        (BY_PROFILE,),
    ),
    "two profiles at one address": (
        [seat("CUSTOMER", CUSTOMER, profileId="mem_profile_1"), seat("AGENT", OURS)],
        [seat("CUSTOMER", CUSTOMER, profileId="mem_profile_2"), seat("AGENT", OURS)],
        (BY_CHANNEL, BY_ADDRESSES),
    ),
    "a profile, then the bare address": (
        [seat("CUSTOMER", CUSTOMER, profileId="mem_profile_1"), seat("AGENT", OURS)],
        pair(),
        GROUPINGS,
    ),
    "the bare address, then a profile": (
        pair(),
        [seat("CUSTOMER", CUSTOMER, profileId="mem_profile_1"), seat("AGENT", OURS)],
        GROUPINGS,
    ),
    "the customer alone, twice": ([seat("CUSTOMER", CUSTOMER)], [seat("CUSTOMER", CUSTOMER)], GROUPINGS),
    "agents only": ([seat("AGENT", OURS)], [seat("AGENT", OURS)], ()),
    "mailboxes in another case": (
        pair("EMAIL", "Ana@Example.com", "help@example.com"),
        pair("EMAIL", "ana@example.COM", "Help <help@example.com>"),
        GROUPINGS,
    ),
    "chat identities in another case": (pair("CHAT", "ana", "desk"), pair("CHAT", "Ana", "desk"), ()),
}


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize("name", TABLE)
async def test_what_collides(sandbox, name, grouping):
    """The second conversation is refused exactly under the grouping types of the table."""
    first, second, refusing = TABLE[name]
    opened = await sandbox.open(*first, configuration=grouping)
    answer = await sandbox.post("/v2/Conversations", opening(*second, configuration=grouping))
    assert answer.status == (409 if grouping in refusing else 201), answer.raw
    if answer.status == 409:
        assert answer.headers["X-Conflicting-Resource-Id"] == opened["id"]
        assert answer.body == {
            "code": 400,
            "message": f"Address mapping already exists on conversation {opened['id']}.",
            "more_info": "https://www.twilio.com/docs/errors/400",
            "status": 409,
        }


async def test_configurations_do_not_share_groups(sandbox):
    """The same pair may be open once in each configuration."""
    for grouping in GROUPINGS:
        await sandbox.open(configuration=grouping)


@pytest.mark.parametrize("grouping", GROUPINGS)
@pytest.mark.parametrize(
    "joining",
    [
        seat("AI_AGENT", "ai-agent", "CHAT"),
        seat("HUMAN_AGENT", "+15550107777"),
        seat("AI_AGENT", SALES),
        seat("UNKNOWN", "+15550106666"),
    ],
    ids=["ai-agent", "human-agent", "ai-agent-elsewhere", "stranger"],
)
async def test_who_joins_does_not_hide_the_conversation(sandbox, grouping, joining):
    """After a consumer joined, the customer's next message still finds the conversation."""
    opened = await sandbox.open(configuration=grouping)
    assert (await sandbox.post(f"/v2/Conversations/{opened['id']}/Participants", joining)).status == 201
    answer = await sandbox.post("/v2/Conversations", opening(*pair(), configuration=grouping))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


@pytest.mark.parametrize("grouping", GROUPINGS)
async def test_our_side_may_come_later(sandbox, grouping):
    """A conversation opened with the customer alone owns the pair once our side has joined."""
    opened = await sandbox.open(seat("CUSTOMER", CUSTOMER), configuration=grouping)
    await sandbox.post(f"/v2/Conversations/{opened['id']}/Participants", seat("AGENT", OURS))
    answer = await sandbox.post("/v2/Conversations", opening(*pair(), configuration=grouping))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


@pytest.mark.parametrize("grouping", GROUPINGS)
async def test_our_number_as_a_stranger_may_join_many(sandbox, grouping):
    """Our number as UNKNOWN joins the conversations of two customers; it is nobody's customer."""
    for customer in (CUSTOMER, OTHER):
        opened = await sandbox.open(seat("CUSTOMER", customer), configuration=grouping)
        answer = await sandbox.post(f"/v2/Conversations/{opened['id']}/Participants", seat("UNKNOWN", OURS))
        assert answer.status == 201
    answer = await sandbox.post("/v2/Conversations", opening(*pair(customer=OTHER), configuration=grouping))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


async def test_a_conversation_owns_the_keys_of_all_its_channels(sandbox):
    """Participants of a second channel make the conversation answer for that channel too."""
    opened = await sandbox.open()
    for each in pair("WHATSAPP", "whatsapp:+15550105555", WA_OURS):
        assert (await sandbox.post(f"/v2/Conversations/{opened['id']}/Participants", each)).status == 201
    answer = await sandbox.post("/v2/Conversations", opening(*pair("WHATSAPP", "+15550105555", OURS)))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


async def test_adding_a_participant_may_collide(sandbox):
    """POST Participants is refused when the conversation would take another one's customer."""
    first = await sandbox.open()
    second = await sandbox.open(*pair(customer=OTHER))
    path = f"/v2/Conversations/{second['id']}/Participants"
    answer = await sandbox.post(path, seat("CUSTOMER", CUSTOMER))
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, first["id"])
    assert len((await sandbox.get(path)).body["participants"]) == 2


async def test_our_side_coming_later_may_collide(sandbox):
    """An agent that would make two conversations hold one pair is refused, and leaves no trace."""
    first = await sandbox.open()
    alone = await sandbox.open(seat("CUSTOMER", CUSTOMER))
    answer = await sandbox.post(f"/v2/Conversations/{alone['id']}/Participants", seat("AGENT", OURS))
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, first["id"])
    assert len((await sandbox.get(f"/v2/Conversations/{alone['id']}")).body["participants"]) == 1


@pytest.mark.parametrize(
    ("place", "body"),
    [(0, seat("CUSTOMER", CUSTOMER)), (1, None)],
    ids=["customer-moves", "our-number-moves"],
)
async def test_replacing_a_participant_may_collide(sandbox, place, body):
    """PUT is refused when it would make two conversations hold one pair; the participant stays as it was."""
    first = await sandbox.open()
    second = await sandbox.open(*(pair(customer=OTHER) if body else pair(ours=SALES)))
    participant = second["participants"][place]
    path = f"/v2/Conversations/{second['id']}/Participants/{participant['id']}"
    answer = await sandbox.put(path, body or seat("AGENT", OURS))
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, first["id"])
    assert (await sandbox.get(path)).body == participant


async def test_replacing_frees_the_old_key(sandbox):
    """What a participant gave up by PUT may be opened again."""
    opened = await sandbox.open()
    path = f"/v2/Conversations/{opened['id']}/Participants/{opened['participants'][0]['id']}"
    assert (await sandbox.put(path, seat("CUSTOMER", OTHER))).status == 200
    await sandbox.open()
    assert (await sandbox.post("/v2/Conversations", opening(*pair(customer=OTHER)))).status == 409


async def test_promoting_a_stranger_never_conflicts_with_itself(sandbox):
    """Both UNKNOWN sides of a captured conversation can be told apart by PUT, and the key stays."""
    opened = await sandbox.open(seat("UNKNOWN", CUSTOMER), seat("UNKNOWN", OURS))
    path = f"/v2/Conversations/{opened['id']}/Participants"
    for participant, body in zip(opened["participants"], pair(), strict=True):
        assert (await sandbox.put(f"{path}/{participant['id']}", body)).status == 200
    answer = await sandbox.post("/v2/Conversations", opening(*pair()))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


async def test_closing_frees_the_mapping(sandbox):
    """After closing, the same participants open another conversation."""
    opened = await sandbox.open()
    await sandbox.patch(f"/v2/Conversations/{opened['id']}", {"status": "CLOSED"})
    again = await sandbox.open()
    assert again["id"] != opened["id"]


@pytest.mark.parametrize(("blocks", "status"), [(True, 409), (False, 201)])
async def test_inactive_blocks_by_switch(start, blocks, status):
    """Whether an INACTIVE conversation still holds its mapping is a switch."""
    sandbox = await start(inactive_blocks=blocks)
    opened = await sandbox.open()
    await sandbox.patch(f"/v2/Conversations/{opened['id']}", {"status": "INACTIVE"})
    assert (await sandbox.post("/v2/Conversations", opening(*pair()))).status == status


def test_agents_hold_no_key():
    """Agents hold no key, whatever the grouping."""
    agent = GroupingMember("AI_AGENT", None, (("SMS", OURS),))
    assert keys_of(agent, NO_ANCHORS.admit([agent]), "GROUP_BY_PROFILE") == NO_KEYS


def test_anchors_are_values():
    """What changes nothing gives the same object back; only the first agent of a channel becomes its anchor."""
    customer = GroupingMember("CUSTOMER", None, (("SMS", CUSTOMER),))
    ours, later = (GroupingMember("AGENT", None, (("SMS", each),)) for each in (OURS, SALES))
    alone = NO_ANCHORS.admit([customer])
    joined = alone.admit([ours])
    assert (alone, joined) == (Anchors({"SMS": {"": False}}), Anchors({"SMS": {"": False, OURS: True}}))
    assert joined.admit([later]) is joined
    assert joined.replace(customer, customer) is joined
    assert joined.pin("SMS", OURS) is joined
