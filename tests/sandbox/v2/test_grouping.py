"""Grouping: which conversations collide under the three grouping types, over HTTP and as keys."""

from __future__ import annotations

import pytest

from router.sandbox.v2.grouping import NO_ANCHORS, NO_KEYS, Anchors, GroupingMember, keys_of
from tests.sandbox.harness import BY_ADDRESSES, BY_CHANNEL, BY_PROFILE, GROUPINGS, make_participant, opening, pair
from tests.support.accounts import CUSTOMER, OTHER_CUSTOMER, OURS

SALES = "+15550108888"
WA_CUSTOMER, WA_OURS = f"whatsapp:{CUSTOMER}", f"whatsapp:{OURS}"

#: name: first conversation, second conversation, the grouping types under which they collide
TABLE = {
    "the same pair on one channel": (pair(), pair(), GROUPINGS),
    "the same pair, differently spelled": (pair(), pair(customer="+1 (555) 123-0001"), GROUPINGS),
    "the same pair over SMS and WhatsApp": (
        pair(),
        pair("WHATSAPP", WA_CUSTOMER, WA_OURS),
        (BY_ADDRESSES, BY_PROFILE),
    ),
    "another customer": (pair(), pair(customer=OTHER_CUSTOMER), ()),
    "another number of ours": (pair(), pair(ours=SALES), (BY_PROFILE,)),
    "two UNKNOWN, then with types": (
        [make_participant("UNKNOWN", CUSTOMER), make_participant("UNKNOWN", OURS)],
        pair(),
        GROUPINGS,
    ),
    "with types, then two UNKNOWN": (
        pair(),
        [make_participant("UNKNOWN", CUSTOMER), make_participant("UNKNOWN", OURS)],
        GROUPINGS,
    ),
    "our number as UNKNOWN with two customers": (
        [make_participant("CUSTOMER", CUSTOMER), make_participant("UNKNOWN", OURS)],
        [make_participant("CUSTOMER", OTHER_CUSTOMER), make_participant("UNKNOWN", OURS)],
        (),
    ),
    "two agent types for our number": (
        pair(),
        [make_participant("CUSTOMER", CUSTOMER), make_participant("HUMAN_AGENT", OURS)],
        GROUPINGS,
    ),
    "one profile on two addresses": (
        [make_participant("CUSTOMER", CUSTOMER, profileId="mem_profile_1"), make_participant("AGENT", OURS)],
        [make_participant("CUSTOMER", OTHER_CUSTOMER, profileId="mem_profile_1"), make_participant("AGENT", OURS)],
        (BY_PROFILE,),
    ),
    "two profiles at one address": (
        [make_participant("CUSTOMER", CUSTOMER, profileId="mem_profile_1"), make_participant("AGENT", OURS)],
        [make_participant("CUSTOMER", CUSTOMER, profileId="mem_profile_2"), make_participant("AGENT", OURS)],
        (BY_CHANNEL, BY_ADDRESSES),
    ),
    "a profile, then the bare address": (
        [make_participant("CUSTOMER", CUSTOMER, profileId="mem_profile_1"), make_participant("AGENT", OURS)],
        pair(),
        GROUPINGS,
    ),
    "the bare address, then a profile": (
        pair(),
        [make_participant("CUSTOMER", CUSTOMER, profileId="mem_profile_1"), make_participant("AGENT", OURS)],
        GROUPINGS,
    ),
    "the customer alone, twice": (
        [make_participant("CUSTOMER", CUSTOMER)],
        [make_participant("CUSTOMER", CUSTOMER)],
        GROUPINGS,
    ),
    "agents only": ([make_participant("AGENT", OURS)], [make_participant("AGENT", OURS)], ()),
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
    """The second conversation is refused under the grouping types of the table, and under no other."""
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
        make_participant("AI_AGENT", "ai-agent", "CHAT"),
        make_participant("HUMAN_AGENT", "+15550107777"),
        make_participant("AI_AGENT", SALES),
        make_participant("UNKNOWN", "+15550106666"),
    ],
    ids=["ai-agent", "human-agent", "ai-agent-elsewhere", "unknown"],
)
async def test_a_joining_participant_keeps_the_grouping(sandbox, grouping, joining):
    """After a consumer joined, the customer's next message still matches the conversation."""
    opened = await sandbox.open(configuration=grouping)
    assert (await sandbox.post(f"/v2/Conversations/{opened['id']}/Participants", joining)).status == 201
    answer = await sandbox.post("/v2/Conversations", opening(*pair(), configuration=grouping))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


@pytest.mark.parametrize("grouping", GROUPINGS)
async def test_our_side_joins_later(sandbox, grouping):
    """A conversation opened with the customer alone holds the pair once our side has joined."""
    opened = await sandbox.open(make_participant("CUSTOMER", CUSTOMER), configuration=grouping)
    await sandbox.post(f"/v2/Conversations/{opened['id']}/Participants", make_participant("AGENT", OURS))
    answer = await sandbox.post("/v2/Conversations", opening(*pair(), configuration=grouping))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


@pytest.mark.parametrize("grouping", GROUPINGS)
async def test_our_number_as_unknown_joins_many(sandbox, grouping):
    """Our number as UNKNOWN joins the conversations of two customers; it is not a customer itself."""
    for customer in (CUSTOMER, OTHER_CUSTOMER):
        opened = await sandbox.open(make_participant("CUSTOMER", customer), configuration=grouping)
        answer = await sandbox.post(f"/v2/Conversations/{opened['id']}/Participants", make_participant("UNKNOWN", OURS))
        assert answer.status == 201
    answer = await sandbox.post("/v2/Conversations", opening(*pair(customer=OTHER_CUSTOMER), configuration=grouping))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


async def test_a_conversation_holds_the_keys_of_all_its_channels(sandbox):
    """Participants of a second channel make the conversation hold the pair of that channel too."""
    opened = await sandbox.open()
    for each in pair("WHATSAPP", "whatsapp:+15550105555", WA_OURS):
        assert (await sandbox.post(f"/v2/Conversations/{opened['id']}/Participants", each)).status == 201
    answer = await sandbox.post("/v2/Conversations", opening(*pair("WHATSAPP", "+15550105555", OURS)))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


async def test_adding_a_participant_may_collide(sandbox):
    """POST Participants is refused if the conversation would hold the pair of another one."""
    first = await sandbox.open()
    second = await sandbox.open(*pair(customer=OTHER_CUSTOMER))
    path = f"/v2/Conversations/{second['id']}/Participants"
    answer = await sandbox.post(path, make_participant("CUSTOMER", CUSTOMER))
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, first["id"])
    assert len((await sandbox.get(path)).body["participants"]) == 2


async def test_our_side_joining_later_may_collide(sandbox):
    """An agent that would make two conversations hold one pair is refused, without an effect."""
    first = await sandbox.open()
    alone = await sandbox.open(make_participant("CUSTOMER", CUSTOMER))
    answer = await sandbox.post(f"/v2/Conversations/{alone['id']}/Participants", make_participant("AGENT", OURS))
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, first["id"])
    assert len((await sandbox.get(f"/v2/Conversations/{alone['id']}")).body["participants"]) == 1


@pytest.mark.parametrize(
    ("place", "body"),
    [(0, make_participant("CUSTOMER", CUSTOMER)), (1, None)],
    ids=["customer-moves", "our-number-moves"],
)
async def test_replacing_a_participant_may_collide(sandbox, place, body):
    """PUT is refused if two conversations would hold one pair; the participant stays unchanged."""
    first = await sandbox.open()
    second = await sandbox.open(*(pair(customer=OTHER_CUSTOMER) if body else pair(ours=SALES)))
    participant = second["participants"][place]
    path = f"/v2/Conversations/{second['id']}/Participants/{participant['id']}"
    answer = await sandbox.put(path, body or make_participant("AGENT", OURS))
    assert (answer.status, answer.headers["X-Conflicting-Resource-Id"]) == (409, first["id"])
    assert (await sandbox.get(path)).body == participant


async def test_replacing_releases_the_old_key(sandbox):
    """A pair that a participant gave up by PUT can be opened again."""
    opened = await sandbox.open()
    path = f"/v2/Conversations/{opened['id']}/Participants/{opened['participants'][0]['id']}"
    assert (await sandbox.put(path, make_participant("CUSTOMER", OTHER_CUSTOMER))).status == 200
    await sandbox.open()
    assert (await sandbox.post("/v2/Conversations", opening(*pair(customer=OTHER_CUSTOMER)))).status == 409


async def test_giving_types_to_unknown_participants(sandbox):
    """Both UNKNOWN sides of a captured conversation can get their types by PUT, and the key stays."""
    opened = await sandbox.open(make_participant("UNKNOWN", CUSTOMER), make_participant("UNKNOWN", OURS))
    path = f"/v2/Conversations/{opened['id']}/Participants"
    for participant, body in zip(opened["participants"], pair(), strict=True):
        assert (await sandbox.put(f"{path}/{participant['id']}", body)).status == 200
    answer = await sandbox.post("/v2/Conversations", opening(*pair()))
    assert answer.headers.get("X-Conflicting-Resource-Id") == opened["id"]


async def test_closing_releases_the_key(sandbox):
    """After closing, the same participants open another conversation."""
    opened = await sandbox.open()
    await sandbox.patch(f"/v2/Conversations/{opened['id']}", {"status": "CLOSED"})
    again = await sandbox.open()
    assert again["id"] != opened["id"]


@pytest.mark.parametrize(("blocks", "status"), [(True, 409), (False, 201)])
async def test_inactive_blocks_by_switch(start, blocks, status):
    """By switch an INACTIVE conversation holds its key or does not."""
    sandbox = await start(inactive_blocks=blocks)
    opened = await sandbox.open()
    await sandbox.patch(f"/v2/Conversations/{opened['id']}", {"status": "INACTIVE"})
    assert (await sandbox.post("/v2/Conversations", opening(*pair()))).status == status


def test_agents_hold_no_key():
    """Agents hold no key, whatever the grouping."""
    agent = GroupingMember("AI_AGENT", None, (("SMS", OURS),))
    assert keys_of(agent, NO_ANCHORS.admit([agent]), "GROUP_BY_PROFILE") == NO_KEYS


def test_anchors_are_values():
    """A change without effect returns the same object; only the first agent of a channel becomes an anchor."""
    customer = GroupingMember("CUSTOMER", None, (("SMS", CUSTOMER),))
    ours, later = (GroupingMember("AGENT", None, (("SMS", each),)) for each in (OURS, SALES))
    alone = NO_ANCHORS.admit([customer])
    joined = alone.admit([ours])
    assert (alone, joined) == (Anchors({"SMS": {"": False}}), Anchors({"SMS": {"": False, OURS: True}}))
    assert joined.admit([later]) is joined
    assert joined.replace(customer, customer) is joined
    assert joined.pin("SMS", OURS) is joined
