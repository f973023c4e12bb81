"""The sandbox within this process, and a client of its API for tests: another caller than the project's processes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from router.sandbox import SandboxOptions, create_app
from router.sandbox.faults import Fault
from router.sandbox.middlewares import FAULTS
from tests.harness.serving import serving
from tests.support.accounts import ACCOUNT, KEY, SECRET, TOKEN

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator

    from aiohttp.web import Application

    from router.sandbox.clock import Clock

AUTHORIZATION: Final = {"Authorization": aiohttp.encode_basic_auth(KEY, SECRET)}


class SandboxClient:
    """Calls the public APIs and the admin API of a sandbox."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, *, authorization: str = AUTHORIZATION["Authorization"]
    ) -> None:
        self.url, self.session = url, session
        self._headers = {"Authorization": authorization}

    async def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Send a request; returns the JSON of a 2xx, None if it is empty; raises aiohttp.ClientResponseError."""
        async with self.session.request(
            method, self.url + path, json=body, params=query, headers=self._headers
        ) as answer:
            text = await answer.read()
            if not answer.ok:
                raise aiohttp.ClientResponseError(
                    answer.request_info, answer.history, status=answer.status, message=text.decode()
                )
            return orjson.loads(text) if text else None

    async def conversations(self) -> list[dict[str, Any]]:
        """Return all v2 conversations, each with its participants."""
        return await self._list("/v2/Conversations", "conversations")

    async def participants(self, conversation_id: str) -> list[dict[str, Any]]:
        return await self._list(f"/v2/Conversations/{conversation_id}/Participants", "participants")

    async def communications(self, conversation_id: str) -> list[dict[str, Any]]:
        return await self._list(f"/v2/Conversations/{conversation_id}/Communications", "communications")

    async def texts(self, conversation_id: str) -> list[str]:
        """Return the texts of all communications of a conversation."""
        return [one["content"]["text"] for one in await self.communications(conversation_id)]

    async def _list(self, path: str, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        query = {"pageSize": "1000"}
        while True:
            page = await self.ask("GET", path, **query)
            rows += page[name]
            if not (token := page["meta"].get("nextToken")):
                return rows
            query["pageToken"] = token

    async def list_classic(self, path: str, name: str) -> list[dict[str, Any]]:
        """Return all rows of a list of the classic API; `path` follows /v1."""
        rows, page = [], await self.ask("GET", f"/v1{path}", PageSize="100")
        while True:
            rows += page[name]
            if not (url := page["meta"].get("next_page_url")):
                return rows
            page = await self.ask("GET", "/v1/" + url.partition("/v1/")[2])

    async def close_conversation(self, conversation_id: str) -> dict[str, Any]:
        return await self.ask("PATCH", f"/v2/Conversations/{conversation_id}", {"status": "CLOSED"})

    async def remove_participant(self, conversation_id: str, participant_id: str) -> None:
        """Remove a participant as Twilio does it, which no client of the API can."""
        await self.ask("POST", f"/sandbox/participants/{conversation_id}/{participant_id}/remove")

    async def capture(self, sender: str, recipient: str, **fields: Any) -> dict[str, Any]:
        """Capture a message passively, as Twilio does it: it puts the customer into a conversation itself."""
        body = {"channel": "SMS", "from": sender, "to": recipient, "body": "hi"} | fields
        return await self.ask("POST", "/sandbox/capture", body)


class Sandbox(SandboxClient):
    """A sandbox within this process."""

    def __init__(self, url: str, session: aiohttp.ClientSession, app: Application) -> None:
        super().__init__(url, session)
        self.app = app

    def fault(self, **fields: Any) -> None:
        """Inject a fault into the requests that match."""
        self.app[FAULTS].arm(Fault(**fields))

    def clear_faults(self) -> None:
        self.app[FAULTS].clear()


def make_options(**switches: Any) -> SandboxOptions:
    """Return the options of a sandbox of the tests' account."""
    identity = {"account_sid": ACCOUNT, "auth_token": TOKEN, "api_key": KEY, "api_secret": SECRET}
    return SandboxOptions(**(identity | switches))


@asynccontextmanager
async def running_sandbox(
    *, clock: Clock | None = None, entropy: random.Random | None = None, **switches: Any
) -> AsyncIterator[Sandbox]:
    """Run a sandbox in this process while the block runs."""
    app = create_app(make_options(**switches), clock=clock, entropy=entropy)
    async with serving(app) as url, aiohttp.ClientSession() as session:
        yield Sandbox(url, session, app)
