"""What the desk answers programs is what its models, and so the OpenAPI document, say."""

import orjson

from router.console.desk.models import DeskAnswer, OpenConversationAnswer, SentView


async def test_the_answers_are_those_of_the_models(office, colleagues):
    """Every field, in offers and lines too, and no other."""
    dana = await colleagues("dana")
    async with dana.page():
        conversation = await office.customer_writes()
        await office.until_present("dana")
        await office.ask_for_person(conversation)
        await dana.offer()
        shown = await dana.desk()
        assert DeskAnswer.model_validate(shown).model_dump(mode="json") == shown
        fields = await dana.form("/desk", "/desk/offers")
        headers = {"Accept": "application/json"}
        pressed = fields | {"offer": shown["offers"][0]["offer"], "answer": "accept"}
        status, _, text = await dana.request("POST", "/desk/offers", data=pressed, headers=headers)
        answer = orjson.loads(text)
        assert (status, answer["answer"]["state"]) == (200, "done")
        assert SentView.model_validate(answer).answer.epoch == answer["answer"]["epoch"] == 1
        shown = await dana.desk()
        assert shown["conversations"]
        assert DeskAnswer.model_validate(shown).model_dump(mode="json") == shown
        opened = await dana.conversation(conversation)
        assert OpenConversationAnswer.model_validate(opened).model_dump(mode="json") == opened
