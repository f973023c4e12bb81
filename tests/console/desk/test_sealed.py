"""The desk where texts are sealed at rest: people read and write as ever, and whoever reads Redis does not."""

from base64 import b64encode

from router.core.keys import Target
from tests.support.waiting import until

SECRET = "my card number is in the letter"
ANSWER = "I have blocked the card"


#: A key for all processes of the office.
SETTINGS = {"ROUTER_SEAL_KEYS": b64encode(bytes(range(32))).decode()}


async def test_texts_are_sealed_in_redis_and_read_at_the_desk(office, colleagues, redis):
    """Offer, transcript, reply and the news of an open page."""
    dana = await colleagues("dana")
    async with dana.page() as desk:
        await office.harness.append(office.harness.sms(body=SECRET))
        said = await until(lambda: office.last("communication.received", Target.AI_AGENT))
        conversation = said.conversation.id
        await office.until_present("dana")
        await office.ask_for_person(conversation, reason=SECRET, context={"note": SECRET})
        await desk.next("lists", SECRET)
        offer = await dana.offer()
        assert (offer["reason"], offer["context"]) == (SECRET, {"note": SECRET})
        assert (await dana.answer(offer, "accept"))[0] == 303
        status, _, text = await dana.act(conversation, "reply", text=ANSWER)
        assert status == 303, text
        assert ANSWER in await office.sandbox.texts(conversation)

        async def shown():
            lines = (await dana.conversation(conversation))["lines"]
            return {line["text"] for line in lines} >= {SECRET, ANSWER}

        await until(shown)
    streams = [office.keys.commands(0), *(office.keys.participants(0, one) for one in Target)]
    stored = [str(await redis.xrange(stream)) for stream in streams]
    assert not any(SECRET in one or ANSWER in one for one in stored)
