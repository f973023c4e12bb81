"""The desk in classic conversations: what was said is read from the classic API, and replies go out there."""

import pytest

from tests.harness.sandbox import running_sandbox
from tests.support.accounts import CUSTOMER
from tests.support.waiting import until
from tests.worker.classic_harness import POST_EVENTS, Classic, start_hook


@pytest.fixture
async def hook():
    """What takes the webhooks of classic conversations."""
    async for one in start_hook():
        yield one


@pytest.fixture
async def sandbox(hook):
    """An API that sends webhooks of classic conversations."""
    async with running_sandbox(classic_post_webhook_url=hook.url, classic_webhook_filters=POST_EVENTS) as one:
        yield one


async def test_a_classic_conversation_is_answered_like_any_other(office, colleagues, hook):
    """Offered, shown with its members and messages, and answered as the person."""
    dana = await colleagues("dana")
    side = Classic(office.harness, hook)
    async with dana.page():
        taken = await side.inbound(body="good morning")
        sid = taken["conversation"]["sid"]
        for webhook in await hook.take_all("onMessageAdded"):
            await office.harness.append(webhook)
        await until(lambda: office.last("participant.joined", "ai-agent"))
        await office.until_present("dana")
        await office.ask_for_person(sid)
        status, headers, text = await dana.answer(await dana.offer(), "accept")
        assert (status, headers.get("Location")) == (303, f"/desk/conversations/{sid}"), text
        status, _, text = await dana.act(sid, "reply", text="good morning to you")
        assert status == 303, text
        shown = await dana.conversation(sid)
        assert shown["is_classic"]
        said = [(line["role"], line["who"], line["text"]) for line in shown["lines"] if line["kind"] == "said"]
        assert said == [("customer", CUSTOMER, "good morning"), ("person", "Dana", "good morning to you")]
        members = {(one["role"], one["label"]) for one in shown["members"]}
        assert ("customer", CUSTOMER) in members
        assert (await dana.act(sid, "finish"))[0] == 303
