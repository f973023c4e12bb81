"""Forms and switches of the desk in a browser: sent once, kept when refused, and a sound for those who want it."""

import pytest
from playwright.async_api import expect

from tests.console.desk.conftest import console, idle_office, office, office_settings, ports, sandbox, users_file
from tests.support.accounts import OTHER_CUSTOMER

__all__ = ["console", "idle_office", "office", "office_settings", "ports", "sandbox", "users_file"]  # fixtures

pytestmark = pytest.mark.timeout(240)


async def test_a_double_click_sends_once_and_a_refused_text_is_kept(office, at_desk):
    """What a person has written is in the form when the conversation was lost meanwhile, with who has it now."""
    dana, eli = await at_desk("dana"), await at_desk("eli")
    await office.until_present("dana", "eli")
    conversation = await office.customer_writes("hello")
    await office.ask_for_person(conversation, agent="dana")
    await dana.page.get_by_role("button", name="Accept").click()
    reply = dana.page.get_by_label("Reply to the customer")
    await reply.fill("Here I am.")
    await dana.page.get_by_role("button", name="Send").dblclick()
    await expect(dana.page.locator(".line.ours .text")).to_have_text("Here I am.")
    assert await office.sandbox.texts(conversation) == ["Here I am."]
    other = await office.customer_writes("another one", sender=OTHER_CUSTOMER)
    await office.ask_for_person(other, agent="dana")
    await expect(dana.page.locator("#offers")).to_have_text("An offer waits for you at the desk")
    await expect(dana.page).to_have_title("(1) Conversation · Participant Router")
    fields = {"conversation": conversation, "agent": "dana", "epoch": 1}
    status, answer = await office.command("conversation.transfer", **fields, to={"agent": "eli"})
    assert status == 202, answer
    await reply.fill("one more thing")
    await eli.page.get_by_role("button", name="Accept").click()
    await expect(dana.page.locator("#transcript")).to_contain_text("You do not have this conversation: Eli has it.")
    await expect(reply).to_have_value("one more thing")
    await dana.page.get_by_role("button", name="Send").click()
    await expect(dana.page.locator("#notice")).to_contain_text("You do not have this conversation any more.")
    await expect(dana.page.locator("textarea")).to_have_value("one more thing")
    dana.forgive(409)


async def test_the_sound_is_a_switch(office, at_desk):
    """Off at first, and on while the tab is open once somebody has switched it on."""
    dana = await at_desk("dana")
    button = dana.page.get_by_role("button", name="Sound for offers")
    await expect(button).to_have_attribute("aria-pressed", "false")
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")
    await dana.page.reload()
    await expect(button).to_have_text("Sound for offers: on")
