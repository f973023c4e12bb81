"""The search for a story: every stage end to end, by every key, within bounds of time and number."""

from __future__ import annotations

from tests.operations.parts import names_of, sid_of, sms

ANSWERED = ["received", "resolved", "published", "published", "consumed", "consumed", "sent"]


async def test_story_of_an_answered_message(parts):
    """A message is received, resolved, published, consumed and answered, with times, process and reasons."""
    async with parts.receiving() as send, parts.working(), parts.handling("ai_agent"):
        assert await send(sms()) == 200
        story = await parts.told(sid_of(), "sent")
    assert story.found
    assert sorted(names_of(story)) == sorted(ANSWERED)
