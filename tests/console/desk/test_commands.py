"""`POST /v1/commands`: a program's commands, checked at the door, and written to the stream of their conversation."""

import orjson
import pytest

from router.core.keys import Keys
from router.core.routing.commands import read_command
from tests.console.desk.office import make_document
from tests.support.accounts import ACCOUNT, OTHER_ACCOUNT
from tests.support.waiting import until

CONVERSATION = "conv_conversation_01m7w9zwnqf81rbzmvad0wbymv"
OFFER = f"{ACCOUNT}/{CONVERSATION}/8c5cd0e51d2b.1"
KIM, VIEWER = "token-of-kim", "token-of-a-viewer"


async def test_a_command_is_written_as_it_came(idle_office):
    """202 with its id and partition; the entry has what the program sent."""
    document = make_document("handoff.request", conversation=CONVERSATION, reason="wants a person", context={"a": [1]})
    status, answer = await idle_office.post_command(orjson.dumps(document))
    assert (status, answer) == (202, {"id": document["id"], "partition": 0})
    ((_, fields),) = await idle_office.redis.xrange(idle_office.keys.commands(0))
    command = read_command(fields)
    assert (command.type, command.id, command.raw) == ("handoff.request", document["id"], document["data"])


@pytest.mark.parametrize(
    "kind", ["application/json", "application/cloudevents+json", "application/x-www-form-urlencoded"]
)
async def test_the_types_of_programs_are_taken(idle_office, kind):
    """JSON, CloudEvents in JSON, and what curl says of every document."""
    document = orjson.dumps(make_document("agent.available", agent="kim"))
    assert (await idle_office.post_command(document, content_type=kind))[0] == 202


@pytest.mark.parametrize(
    ("document", "problems"),
    [
        ("{", ["JSON"]),
        ({"data": []}, ["an object as data"]),
        (make_document("conversation.shout"), ["is not a command"]),
        (make_document("offer.accept", offer="x", agent="kim"), ["offer: is no offer's id"]),
        (
            make_document("conversation.say", conversation=CONVERSATION, text=""),
            ["agent: Field required", "epoch: Field required", "text: String should have at least 1 character"],
        ),
        (make_document("agent.away", agent="nobody"), ["agent: is not in the roster"]),
        (
            make_document(
                "conversation.finish", conversation=CONVERSATION, agent="kim", epoch=1, account="AC-of-another"
            ),
            ["account: AC-of-another is not configured here"],
        ),
        (
            make_document("offer.accept", offer=OFFER, agent="kim", account=OTHER_ACCOUNT),
            ["account: is not that of the offer"],
        ),
        (
            {"id": "", "type": "command.handoff.request", "data": {"conversation": CONVERSATION, "priority": 1000}},
            ["an id of 1 to 255", "reason: Field required", "priority: Input should be less than or equal to 999"],
        ),
    ],
    ids=["no JSON", "no data", "kind", "offer", "fields", "roster", "account", "other account", "several"],
)
async def test_all_that_is_wrong_is_said(idle_office, document, problems):
    """400 with every problem; nothing is written that would be a dead letter."""
    body = document.encode() if isinstance(document, str) else orjson.dumps(document)
    status, answer = await idle_office.post_command(body)
    assert (status, answer["error"]) == (400, "This is no command.")
    assert len(answer["problems"]) == len(problems)
    for said, wanted in zip(answer["problems"], problems, strict=True):
        assert wanted in said
    assert await idle_office.redis.xlen(idle_office.keys.commands(0)) == 0


@pytest.mark.parametrize(
    ("token", "kind", "data", "status"),
    [
        (KIM, "agent.available", {"agent": "kim"}, 202),
        (KIM, "agent.available", {"agent": "dana"}, 403),
        (KIM, "offer.decline", {"offer": OFFER, "agent": "kim"}, 202),
        (KIM, "offer.accept", {"offer": OFFER, "agent": "eli"}, 403),
        (KIM, "conversation.say", {"conversation": CONVERSATION, "agent": "kim", "epoch": 1, "text": "x"}, 202),
        (KIM, "conversation.say", {"conversation": CONVERSATION, "agent": "dana", "epoch": 1, "text": "x"}, 403),
        (KIM, "handoff.request", {"conversation": CONVERSATION, "reason": "x"}, 403),
        (VIEWER, "agent.available", {"agent": "kim"}, 403),
        ("no token of ours", "agent.available", {"agent": "kim"}, 401),
    ],
)
async def test_agents_act_in_their_own_name_only(idle_office, token, kind, data, status):
    """An operator's program sends any command, an agent's only its own, and a viewer's none."""
    found, answer = await idle_office.command(kind, token, **data)
    assert found == status, answer
    assert await idle_office.redis.xlen(idle_office.keys.commands(0)) == (status == 202)


async def test_a_command_goes_to_the_partition_of_its_conversation(idle_office, ports, redis):
    """With several partitions no worker has to pass it on."""
    keys = Keys(partitions=4)
    ports.desk.sender._keys = keys
    for conversation in ("one", "two", "three"):
        status, answer = await idle_office.command("handoff.request", conversation=conversation, reason="x")
        assert (status, answer["partition"]) == (202, keys.partition_of(conversation))
    lengths = [await redis.xlen(keys.commands(one)) for one in range(4)]
    assert sum(lengths) == 3
    assert max(lengths) < 3


async def test_a_program_works_as_a_person_does(office):
    """Present, asked, accepted, said and finished by commands alone; what is repeated is done once."""
    conversation = await office.customer_writes("hello")
    await office.command("agent.available", KIM, agent="kim", channels=["SMS"])
    await office.until_present("kim")
    await office.ask_for_person(conversation)
    made = await until(lambda: office.last("offer.made"))
    await office.command("offer.accept", KIM, offer=made.offer.id, agent="kim")
    taken = await until(lambda: office.last("holder.changed"))
    assert (taken.to.agent, taken.epoch) == ("kim", 1)
    about = {"conversation": conversation, "agent": "kim", "epoch": 1}
    said = orjson.dumps(make_document("conversation.say", **about, text="good day"))
    assert [(await office.post_command(said, KIM))[0] for _ in range(2)] == [202, 202]

    async def texts():
        found = await office.sandbox.texts(conversation)
        return found if "good day" in found else None

    await until(texts)
    await office.command("conversation.finish", KIM, **about)

    async def is_closed():
        return [one["status"] for one in await office.sandbox.conversations()] == ["CLOSED"]

    await until(is_closed)
    assert (await office.sandbox.texts(conversation)).count("good day") == 1


async def test_the_audit_stream_names_the_command_and_no_text(idle_office, redis):
    """Who, which command, and about which conversation."""
    await idle_office.command("handoff.request", conversation=CONVERSATION, reason="a secret reason")
    ((_, fields),) = await redis.xrange(idle_office.keys.audit())
    noted = {name.decode(): one.decode() for name, one in fields.items()}
    assert CONVERSATION in str(noted)
    assert "handoff.request" in str(noted)
    assert "back-office" in str(noted)
    assert "secret" not in str(noted)
