"""Previews of replays: who would take the entry, whether it had finished it, whether the conversation is closed."""

from __future__ import annotations

import pytest

from router.agents.effects import Effects
from router.core.entries import CommunicationData
from router.core.keys import Target
from router.core.resources import Participant, ParticipantAddress
from router.operations import previews
from router.operations.dead_letters import NOT_OURS, find
from router.operations.previews import LetterPreviews
from router.streams.consuming.groups import ensure_group
from tests.handlers.harness import make
from tests.support.accounts import ACCOUNT, CUSTOMER
from tests.support.entries import fields_of

pytestmark = pytest.mark.real


@pytest.fixture
def entry():
    """A communication of a customer."""
    address = ParticipantAddress(channel="SMS", address=CUSTOMER)
    customer = Participant(id="conv_participant_1", type="CUSTOMER", addresses=(address,))
    return make(CommunicationData, "conv_conversation_1", customer)


@pytest.fixture
def preview(redis, keys, settings, deployment):
    """Bury an entry and return the preview of its replay."""

    async def bury(fields=None, **dead):
        name = await deployment.bury(fields, **dead)
        return await LetterPreviews(redis, settings).preview(await find(redis, keys, name))

    return bury


async def test_nobody_reads(preview):
    """The stream has no group."""
    found = await preview()
    assert (found.can_replay, found.takers) == (True, ())
    assert "no group reads that stream" in found.text


async def test_what_cannot_be_read_would_be_given_up_again(keys, preview):
    """With the reason of the process that takes it, of today: a parser may be fixed by then."""
    assert (await preview()).problem == "missing or blank: From, To, MessageSid"
    command = await preview({"command": b'{"type": "command.x", "id": "1", "data": {}}'}, stream=keys.commands(0))
    assert command.problem


async def test_a_parser_that_fails_otherwise_is_previewed(preview, monkeypatch):
    """Letters exist because of such errors: the preview says which, without the number that it quotes."""

    def fail(_):
        raise KeyError(CUSTOMER)

    monkeypatch.setattr(previews, "normalize", fail)
    found = await preview()
    assert found.kind == "would be given up again"
    assert found.problem.startswith("KeyError: ")
    assert CUSTOMER[1:] not in found.problem


async def test_the_kind_of_a_preview_quotes_nothing(preview, entry, keys):
    """Many previews are summed up by it, whatever streams and reasons they name."""
    assert (await preview()).kind == "would be given up again"
    assert (
        await preview(fields_of(entry), stream=keys.participants(0, Target.AI_AGENT))
    ).kind == "goes back on its stream"
    assert (await preview(stream="none")).kind == NOT_OURS


async def test_groups_that_run_and_those_that_do_not(redis, keys, deployment, preview):
    """Each group of the stream is named with what it would do."""
    await deployment.run("worker")
    await ensure_group(redis, keys.inbound(0), "reports")
    found = await preview()
    assert [taker.text for taker in found.takers] == [
        "reports gets it once a process of it runs",
        "resolver handles it",
    ]


async def test_a_group_that_is_read_without_heartbeats_runs(redis, keys, preview):
    """A program that reads with plain XREADGROUP takes the entry as the shipped processes do."""
    await ensure_group(redis, keys.inbound(0), "reports")
    await redis.xreadgroup("reports", "me", {keys.inbound(0): ">"})
    assert [taker.text for taker in (await preview()).takers] == ["reports handles it"]


async def test_a_group_that_had_finished_the_entry_ignores_it(redis, keys, deployment, preview, entry):
    """By the id of the entry, as at every redelivery; another group of the same stream handles it."""
    await deployment.run("ai-agent")
    stream = keys.participants(0, Target.AI_AGENT)
    await ensure_group(redis, stream, "reports")
    await Effects(redis, keys, "ai-agent").of(0, entry.id).end("answered")
    found = await preview(fields_of(entry), stream=stream, group="ai-agent")
    assert [taker.text for taker in found.takers] == [
        "ai-agent ignores it: it had finished it (answered)",
        "reports gets it once a process of it runs",
    ]
    assert found.is_closed is None
    assert found.to_json()["takers"][0]["earlier"] == "answered"


@pytest.mark.parametrize(("status", "is_closed"), [("CLOSED", True), ("ACTIVE", False)])
async def test_the_conversation_may_be_closed(redis, keys, preview, entry, status, is_closed):
    """A reply would come too late."""
    name = keys.conversation(ACCOUNT, "conv_conversation_1")
    await redis.hset(name, "status", status)
    await redis.expire(name, 60)
    found = await preview(fields_of(entry), stream=keys.participants(0, Target.AI_AGENT))
    assert found.is_closed is is_closed
    assert found.text.endswith("its conversation is closed") is is_closed


@pytest.mark.parametrize("event", [b"", b"\xff", b"[]", b'{"data": {"conversation": {"id": 1}}, "id": "\\ud800"}'])
async def test_nonsense_is_previewed(keys, deployment, preview, event):
    """Nothing is known of it."""
    await deployment.run("ai-agent")
    found = await preview({b"event": event}, stream=keys.participants(0, Target.AI_AGENT))
    assert [taker.text for taker in found.takers] == ["ai-agent handles it"]
    assert found.text.endswith("; it would be given up again: it is no entry of ours")
    assert not (await preview({}, stream="none")).can_replay
