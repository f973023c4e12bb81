"""Messages of classic conversations on the wire."""

import pytest

from router.core.errors import NotFoundError, ServerError
from tests.conversations.test_v1 import SERVICES, SID, api, client, page  # noqa: F401 # fixtures

MESSAGE = {"sid": "IM1", "conversation_sid": SID, "author": "ai-agent", "body": "hi", "index": 0}


@SERVICES
async def test_create(api, client, service_sid, prefix):  # noqa: F811
    """A message is a form of author and body; webhooks are asked for only where told."""
    api.reply(201, MESSAGE)
    made = await client.create_message(SID, author="ai-agent", body="hi & bye", service_sid=service_sid, webhooks=True)
    assert (made.sid, made.index) == ("IM1", 0)
    assert api.wire == [("POST", f"{prefix}/Conversations/{SID}/Messages", "Author=ai-agent&Body=hi%20%26%20bye")]
    assert api.seen[0].headers["X-Twilio-Webhook-Enabled"] == "true"


@pytest.mark.parametrize(("newest_first", "order"), [(True, "desc"), (False, "asc")])
async def test_list(api, client, newest_first, order):  # noqa: F811
    """All pages come in the order that was asked for."""
    page(api, MESSAGE, key="messages", link="/v1/Conversations/x/Messages?PageToken=1")
    page(api, MESSAGE | {"sid": "IM2"}, key="messages")
    found = [one.sid async for one in client.list_messages(SID, newest_first=newest_first)]
    assert found == ["IM1", "IM2"]
    assert api.seen[0].target == f"/v1/Conversations/{SID}/Messages?Order={order}&PageSize=50"


async def test_lost_message_is_not_repeated(api, client):  # noqa: F811
    """A POST whose fate is unknown is the caller's to look up."""
    api.reply(500, {})
    with pytest.raises(ServerError):
        await client.create_message(SID, author="a", body="b")
    assert len(api.seen) == 1


async def test_message_into_nothing(api, client):  # noqa: F811
    """A conversation that is not there is told as such, and a page size that cannot be as a ValueError."""
    api.reply(404, {"code": 50350, "message": "no", "status": 404})
    with pytest.raises(NotFoundError):
        await client.create_message(SID, author="a", body="b")
    with pytest.raises(ValueError, match="a page has"):
        client.list_messages(SID, page_size=0)
