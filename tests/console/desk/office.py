"""An office: a console beside a real worker and a sandbox, and people who use it by their browsers."""

from __future__ import annotations

import html
import re
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson
from aiohttp import ClientSession, ClientTimeout

from router.core.entries import read_entry
from router.core.keys import Keys, Target
from router.core.sealing import NO_KEYS
from tests.console.people import Visitor, password_hash
from tests.support.accounts import CUSTOMER, OURS
from tests.support.waiting import deadline, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.core.entries import Entry
    from router.core.sealing import Sealer
    from tests.worker.harness import WorkerHarness

#: The roster of the office: two people at the desk, and one who works by a program.
ROSTER: Final = """
[[agent]]
identity = "dana"
name = "Dana"
capacity = 3
skills = ["refunds"]

[[agent]]
identity = "eli"
name = "Eli"
capacity = 3

[[agent]]
identity = "kim"
name = "Kim"
capacity = 1
channels = ["CHAT"]
"""
#: A program of the role operator.
PROGRAM: Final = "token-of-the-office"
_TOKENS: Final = {
    "back-office": ("operator", PROGRAM),
    "kim": ("agent", "token-of-kim"),
    "a-viewer": ("viewer", "token-of-a-viewer"),
}
_PEOPLE: Final = {"dana": "agent", "eli": "agent", "nele": "agent", "olu": "operator", "vera": "viewer"}
_HIDDEN: Final = re.compile(r'<input type="hidden" name="([a-z]+)" value="([^"]*)">')
_FORM: Final = re.compile(r'<form method="post" action="([^"]+)"[^>]*>(.*?)</form>', re.DOTALL)


def office_users() -> str:
    """Return the text of a file of users; nele is not in the roster."""
    rows = [
        f'[[user]]\nname = "{name}"\nrole = "{role}"\npassword = "{password_hash()}"' for name, role in _PEOPLE.items()
    ]
    rows += [
        f'[[token]]\nname = "{name}"\nrole = "{role}"\nsha256 = "{sha256(token.encode()).hexdigest()}"'
        for name, (role, token) in _TOKENS.items()
    ]
    return "\n".join(rows)


class Colleague(Visitor):
    """A person at the desk."""

    def __init__(self, url: str, identity: str) -> None:
        super().__init__(url)
        self.identity = identity

    async def desk(self) -> dict[str, Any]:
        """Return what the desk shows, as data."""
        status, _, text = await self.get("/desk", headers={"Accept": "application/json"})
        assert status == 200, text[-400:]
        found: dict[str, Any] = orjson.loads(text)
        return found

    async def offer(self) -> dict[str, Any]:
        """Wait for an offer, and return it."""

        async def find() -> Any:
            return (await self.desk())["offers"]

        offers: list[dict[str, Any]] = await until(find)
        return offers[0]

    async def conversation(self, conversation_id: str) -> dict[str, Any]:
        """Return what the page of a conversation shows, as data."""
        path = f"/desk/conversations/{conversation_id}"
        status, _, text = await self.get(path, headers={"Accept": "application/json"})
        assert status == 200, text[-400:]
        found: dict[str, Any] = orjson.loads(text)
        return found

    async def form(self, path: str, action: str) -> dict[str, str]:
        """Return the hidden fields of a form on a page, found by the end of its action."""
        status, _, text = await self.get(path)
        assert status == 200, text[-400:]
        return hidden_fields(text, action)

    async def answer(self, offer: dict[str, Any], answer: str) -> tuple[int, Any, str]:
        """Press a button of an offer."""
        fields = await self.form("/desk", "/desk/offers")
        return await self.send("/desk/offers", fields | {"offer": offer["offer"], "answer": answer})

    async def act(self, conversation_id: str, action: str, **fields: str) -> tuple[int, Any, str]:
        """Send a form of a conversation's page."""
        path = f"/desk/conversations/{conversation_id}"
        hidden = await self.form(path, f"/{action}")
        return await self.send(f"{path}/{action}", hidden | fields)

    async def send(self, path: str, fields: dict[str, str]) -> tuple[int, Any, str]:
        """Send a form."""
        answer: tuple[int, Any, str] = await self.request("POST", path, data=fields)
        return answer

    @asynccontextmanager
    async def page(self, conversation_id: str = "", more: str = "") -> AsyncIterator[LivePage]:
        """Have a page connected while the block runs; `more` ends the query."""
        query = f"?conversation={conversation_id}{more}" if conversation_id else ""
        cookies = {one.key: one.value for one in self.session.cookie_jar}
        async with (
            ClientSession(self.url, cookies=cookies, timeout=ClientTimeout(None)) as session,
            session.get(f"/desk/events{query}", headers={"Accept": "text/event-stream"}) as response,
        ):
            assert response.status == 200, (await response.text())[-400:]
            yield LivePage(response)


def hidden_fields(page: str, action: str) -> dict[str, str]:
    """Return the hidden fields of the first form of a page whose action ends so."""
    found = [body for target, body in _FORM.findall(page) if html.unescape(target).endswith(action)]
    assert found, f"no form {action} in {page}"
    return {name: html.unescape(one) for name, one in _HIDDEN.findall(found[0])}


class LivePage:
    """The events of a connected page."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._events: list[tuple[str, str]] = []

    async def next(self, name: str, having: str = "", lacking: str = "\0") -> str:
        """Wait for an event whose text has `having` and not `lacking`; return the text, each event's once."""
        async with deadline(30):
            while True:
                for number, (event, text) in enumerate(self._events):
                    if event == name and having in text and lacking not in text:
                        del self._events[number]
                        return text
                self._events.append(await self._read())

    def forget(self) -> None:
        """Drop the events that have come before."""
        self._events.clear()

    async def _read(self) -> tuple[str, str]:
        event, lines = "", []
        async for raw in self._response.content:
            line = raw.decode().rstrip("\r\n")
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                lines.append(line[6:])
            elif not line and lines:
                return event, "\n".join(lines)
        raise AssertionError(f"the connection has ended after {self._events}")

    def kill(self) -> None:
        """Break the connection without a word, as a browser that was killed."""
        self._response.connection.transport.abort()


class Office:
    """What happens around the console."""

    def __init__(self, url: str, harness: WorkerHarness, sealer: Sealer = NO_KEYS) -> None:
        self._sealer = sealer
        self.url, self.harness, self.redis, self.keys = url, harness, harness.redis, Keys()
        self.sandbox = harness.sandbox

    async def customer_writes(self, body: str = "hi", *, sender: str = CUSTOMER, to: str = OURS) -> str:
        """Let a customer write; returns the conversation once that is published."""
        await self.harness.append(self.harness.sms(sender, to, body=body))

        async def find() -> str | None:
            for entry in await self.heard(*Target):
                data: Any = entry.data
                if entry.type == "communication.received" and data.communication.text == body:
                    return str(data.conversation.id)
            return None

        found: str = await until(find)
        return found

    async def heard(self, *targets: Target) -> list[Entry]:
        """Return the entries for targets."""
        rows = [row for one in targets for row in await self.redis.xrange(self.keys.participants(0, one))]
        return [read_entry(fields[b"event"], self._sealer) for _, fields in rows]

    async def last(self, kind: str, target: Target = Target.HUMAN_AGENT) -> Any:
        """Return the data of the last entry of a type, None if there is none."""
        found = [entry.data for entry in await self.heard(target) if entry.type == kind]
        return found[-1] if found else None

    async def commands(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of all commands of a kind, in order."""
        rows = await self.redis.xrange(self.keys.commands(0))
        return [orjson.loads(one[b"command"])["data"] for _, one in rows if one[b"type"].decode() == kind]

    async def command(self, kind: str, token: str = PROGRAM, **data: Any) -> tuple[int, dict[str, Any]]:
        """Send a command as a program does."""
        return await self.post_command(orjson.dumps(make_document(kind, **data)), token)

    async def post_command(
        self, body: bytes, token: str = PROGRAM, content_type: str = "application/cloudevents+json"
    ) -> tuple[int, dict[str, Any]]:
        """Send the document of a command."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}
        async with (
            ClientSession(self.url) as session,
            session.post("/v1/commands", data=body, headers=headers) as answer,
        ):
            return answer.status, orjson.loads(await answer.read())

    async def ask_for_person(self, conversation_id: str, **more: Any) -> None:
        """Let the AI agent ask for a person."""
        data = {"conversation": conversation_id, "reason": "wants a refund", "summary": "Order 4711 is broken."}
        status, answer = await self.command("handoff.request", **(data | more))
        assert status == 202, answer

    async def presence(self, identity: str) -> dict[str, Any] | None:
        """Return what the router knows of a person's presence."""
        text: Any = await self.redis.hget(self.keys.desk("agents"), identity)
        return orjson.loads(text) if text else None

    async def until_present(self, *identities: str) -> None:
        """Wait until the router knows that people are available."""

        async def are_present() -> bool:
            found = [await self.presence(one) for one in identities]
            return all(one and not one["away"] for one in found)

        await until(are_present)

    async def hold(self, person: Colleague, body: str = "hi", **more: Any) -> str:
        """Let a person who is present take a customer's conversation over; returns it."""
        conversation_id = await self.customer_writes(body)
        await self.until_present(person.identity)
        await self.ask_for_person(conversation_id, agent=person.identity, **more)
        status, headers, text = await person.answer(await person.offer(), "accept")
        assert (status, headers.get("Location")) == (303, f"/desk/conversations/{conversation_id}"), text
        return conversation_id


def make_document(kind: str, **data: Any) -> dict[str, Any]:
    """Return the document of a new command."""
    return {"specversion": "1.0", "id": uuid4().hex, "source": "/office", "type": f"command.{kind}", "data": data}
