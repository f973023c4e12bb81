"""Sealed entries in a handler, and what its effects keep: opened with the key, waiting without."""

from __future__ import annotations

import os
from functools import partial

import orjson
import pytest
from pydantic import ValidationError

from handlers.consume import Consumption
from handlers.handler import Handler, HandlerResult
from router.agents.effects import ENTRY, Effects
from router.core.aes_gcm import make_sealer
from router.core.entries import CommunicationData, EntryAddress
from router.core.keys import Keys
from router.core.sealed_texts import ENTRY as ENTRY_TABLE
from router.core.sealed_texts import seal_document
from router.core.sealing import NO_KEYS, PREFIX, SealedError, SealedKind, TamperedError
from router.streams.delivery import Done, Later, Poison
from tests.core.builders import make_participant
from tests.handlers.harness import delivery_of, make

OLD, NEW = (make_sealer([bytes([number]) * 32], partial(os.urandom, 12)) for number in (1, 2))
BOTH = make_sealer([bytes([2]) * 32, bytes([1]) * 32], partial(os.urandom, 12))


def a_sealed_delivery(sealer=OLD):
    entry = make(CommunicationData, "conv_conversation_1", make_participant("p1"))
    document = orjson.loads(entry.model_dump_json())
    document["data"]["communication"]["text"] = "my secret"
    sealed = orjson.dumps(seal_document(document, ENTRY_TABLE, sealer, SealedKind.ENTRY))
    assert b"my secret" not in sealed
    return delivery_of(sealed)


class Listener:
    """A handler that remembers what it was told."""

    def __init__(self, redis, sealer):
        self.heard = []
        effects = Effects(redis, Keys(), "ai-agent", sealer=sealer)
        self.consumption = Consumption("x", Handler({CommunicationData.type: self.react}), effects, sealer=sealer)

    async def react(self, entry, effect):
        async def reply(_):
            return f"answer: {entry.data.communication.text}"

        self.heard.append(await effect.once("reply", reply))
        return HandlerResult("done")


@pytest.mark.parametrize("sealer", [OLD, BOTH], ids=["the key", "a rotation"])
async def test_a_handler_gets_what_was_said(sealer, redis, output):
    """With its placeholders replaced, whichever of the keys sealed it."""
    del output
    listener = Listener(redis, sealer)
    assert await listener.consumption.attempt(a_sealed_delivery()) == Done()
    assert listener.heard == ["answer: my secret"]


@pytest.mark.parametrize("sealer", [NO_KEYS, NEW], ids=["no key", "another key"])
async def test_an_entry_waits_for_its_key(sealer, redis, output):
    """The reason names the setting; the handler is told nothing, also not that it was given up."""
    del output
    listener = Listener(redis, sealer)
    verdict = await listener.consumption.attempt(a_sealed_delivery())
    assert isinstance(verdict, Later)
    assert "ROUTER_SEAL_KEYS" in verdict.reason
    assert not verdict.is_usual, "it is logged"
    await listener.consumption.failing(a_sealed_delivery(), "no reason")
    await listener.consumption.given_up(a_sealed_delivery())
    assert listener.heard == []


async def test_an_error_of_a_reaction_is_not_taken_for_one_of_the_entry(redis, output):
    """Also one of validation: it fails and is tried again, as any other."""
    del output

    async def react(entry, effect):
        del effect
        EntryAddress.model_validate({"channel": entry.id})

    consumption = Consumption("x", Handler({CommunicationData.type: react}), Effects(redis, Keys(), "x"), sealer=OLD)
    with pytest.raises(ValidationError):
        await consumption.attempt(a_sealed_delivery())


async def test_an_entry_that_was_changed_is_a_dead_letter(redis, output):
    """Its text is not what was published."""
    del output
    delivery = a_sealed_delivery()
    document = orjson.loads(delivery.fields[b"event"])
    document["sealed"] = document["sealed"][:-8] + "AAAAAAA="
    delivery.fields[b"event"] = orjson.dumps(document)
    assert isinstance(await Listener(redis, OLD).consumption.attempt(delivery), Poison)


async def test_values_of_steps_rest_sealed(redis):
    """A process with the key reads them, one without does not take them for missing; the outcome is a word."""
    effect = Effects(redis, Keys(), "ai-agent", sealer=OLD).of(0, "e1")

    async def reply(_):
        return "my secret"

    assert await effect.once("reply", reply) == "my secret"
    assert await effect.once("reply", reply) == "my secret"
    (key,) = await redis.keys("*effect*")
    assert (await redis.hget(key, "reply")).startswith(b"s" + PREFIX.encode())
    assert await Effects(redis, Keys(), "ai-agent", sealer=BOTH).of(0, "e1").value("reply") == "my secret"
    for other in (NO_KEYS, NEW):
        with pytest.raises(SealedError, match="ROUTER_SEAL_KEYS"):
            await Effects(redis, Keys(), "ai-agent", sealer=other).of(0, "e1").once("reply", reply)
    await redis.hset(key, "reply", (await redis.hget(key, "reply"))[:-8] + b"AAAAAAA=")
    with pytest.raises(TamperedError):
        await effect.value("reply")
    await effect.end("done")
    assert await redis.hgetall(key) == {b"reply": b"d", ENTRY.encode(): b"ddone"}


async def test_the_text_of_an_answer_is_not_kept_once_its_entry_is_done(redis):
    """Its step stays done: a process that comes back late does not answer again."""
    effect = Effects(redis, Keys(), "ai-agent").of(0, "e1")

    async def reply(_):
        return "my answer"

    async def never(_):
        raise AssertionError

    await effect.once("reply", reply)
    await effect.finish("send", "sent")
    await effect.end("done")
    (key,) = await redis.keys("*effect*")
    assert await redis.hgetall(key) == {b"reply": b"d", b"send": b"dsent", ENTRY.encode(): b"ddone"}
    assert await effect.once("reply", never) == ""
    assert await effect.once("send", never) == "sent"
