"""Every page for everybody: nothing blocked, by keyboard and screen reader, light and dark, and as wide as a phone.

Whatever a script complains of, or the content security policy blocks, fails each of these tests (conftest.windows).
"""

import pytest

from router.console.roles import Role
from router.console.table import PAGES
from tests.browser.looks import problems_of
from tests.console.operations.scenes import CONVERSATION, HOSTILE
from tests.support.accounts import CUSTOMER

#: Something to see on pages that need a query.
QUERIES = {"/story": f"?q=%2B{CUSTOMER[1:]}", "/explain": f"?q={CONVERSATION}", "/sign-in/link": "?token=x"}
#: All that can be opened without an id.
PLAIN = [page for page in PAGES if page.method == "GET" and page.template and not page.is_live and "{" not in page.path]
#: Bytes of the largest first view, compressed as they are sent.
MOST_BYTES = 100_000


def test_the_pages_were_found():
    """A test over no pages finds nothing wrong."""
    assert {"/", "/story", "/tail", "/dead-letters", "/streams", "/sign-in", "/account"} <= {
        page.path for page in PLAIN
    }


@pytest.fixture
async def busy(scenes, deployment):
    """Something in every list, some of it written by a stranger who means ill; returns the id of a refused webhook."""
    await deployment.run("worker", "ai-agent")
    await deployment.park("messaging:AC:SM1", "messaging:AC:SM2", reason=HOSTILE)
    await scenes.letter(HOSTILE)
    await scenes.letters(60)
    return await scenes.refused(detail=HOSTILE)


@pytest.mark.parametrize("page", PLAIN, ids=lambda page: page.path)
async def test_a_page_is_for_everybody(window, busy, page):
    """It can be read and used by everybody, and is as wide as its window."""
    role = None if page.is_public else Role.OPERATOR if page.allows(Role.OPERATOR) else Role.AGENT
    one = await window(role, page.path + QUERIES.get(page.path, ""))
    assert await problems_of(one) == []
    if page.path == "/explain":
        one.forgive(404)  # nobody was announced in this conversation


@pytest.mark.parametrize("kind", ["dead-letters", "quarantine"])
async def test_a_page_of_one_thing_is_for_everybody(window, busy, kind):
    """A dead letter and a refused webhook, which a stranger has written."""
    one = await window(Role.OPERATOR, f"/{kind}")
    await one.page.get_by_role("link", name="Open", exact=True).first.click()
    await one.page.get_by_role("heading", name="A replay").wait_for()
    assert await problems_of(one) == []


async def test_a_job_is_for_everybody(window, busy):
    """A dry run over all dead letters shows its progress and its end without another look."""
    one = await window(Role.OPERATOR, "/dead-letters")
    await one.page.get_by_role("button", name="Dry run over all dead letters").click()
    await one.page.get_by_role("button", name="Replay these").wait_for()
    assert await problems_of(one) == []
