"""A Conversations API that answers the requests of a new customer and of an agent after a given time, and no others.

POST /v2/Conversations answers 201 with both participants, or 409 with the id of the open conversation that has them;
GET /v2/Conversations/{id}/Participants lists them. POST there adds the AI agent, and POST .../Actions sends its
message. The responses are those of the sandbox, which a test compares. The sandbox itself does much more and costs many
times as much: a measurement with it would measure the sandbox.

The id of a conversation ends with the digits of its customer's number, so that only sets of customers are stored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from router.process.loop import Stop
from tests.support.accounts import ACCOUNT, OURS

if TYPE_CHECKING:
    import argparse

CONFIGURATION: Final = "conv_configuration_00000000000000000000000001"
COUNTS: Final = "/sandbox/requests"
#: Answers with the number of messages, and of the conversations that got one.
ANSWERS: Final = "/sandbox/answers"
_CONVERSATIONS: Final = "/v2/Conversations"
_TIME: Final = "2026-01-01T00:00:00.000Z"
_CONVERSATION, _PARTICIPANT = "conv_conversation_", "conv_participant_"
#: The configuration of a conversation, as the API returns it.
_SETTINGS: Final = {
    "displayName": "lean",
    "description": "",
    "conversationGroupingType": "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE",
    "memoryStoreId": None,
    "channelSettings": {},
    "statusCallbacks": [],
    "intelligenceConfigurationIds": [],
    "memoryExtractionEnabled": False,
    "conversationsV1Bridge": None,
}


class LeanApi:
    """Answers after `latency` seconds; with `has_all` every customer has a conversation, and all POSTs conflict.

    With `is_alone` a customer is the only participant until an agent joins.
    """

    def __init__(self, latency: float = 0.0, *, has_all: bool = False, is_alone: bool = False) -> None:
        self._latency = latency
        self._has_all = has_all
        self._is_alone = is_alone
        self._open: set[str] = set()
        self._joined: dict[str, str] = {}  # the names of agents
        self._answered: set[str] = set()
        self._messages = 0
        self.requests = 0

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Answer a request."""
        if request.path == COUNTS:
            return _json({"total": self.requests})
        if request.path == ANSWERS:
            return _json({"messages": self._messages, "conversations": len(self._answered)})
        self.requests += 1
        if self._latency:
            await asyncio.sleep(self._latency)
        body = orjson.loads(await request.read()) if request.method == "POST" else {}
        return self._answer(request.method, request.path, body)

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> web.Response:
        conversation_id, _, rest = path.removeprefix(_CONVERSATIONS).removeprefix("/").partition("/")
        digits = conversation_id.removeprefix(_CONVERSATION)
        match method, rest or conversation_id:
            case "POST", "":
                return self._create(body)
            case "GET", "Participants":
                return self._list(digits)
            case "POST", "Participants":
                return self._join(digits, body)
            case "POST", "Actions":
                return self._send(digits)
        return _json({"code": 404, "message": "Not found", "status": 404}, 404)

    def _list(self, digits: str) -> web.Response:
        meta = {"key": "participants", "pageSize": 2, "nextToken": None, "previousToken": None}
        if not self._is_alone:
            return _json({"participants": _participants(digits), "meta": meta})
        customer, agent = _participants(digits, f"SM{digits:0>32}")
        customer["name"] = customer["addresses"][0]["address"]
        agent["name"] = self._joined.get(digits)
        return _json({"participants": [customer, agent][: 1 + (digits in self._joined)], "meta": meta})

    def _join(self, digits: str, body: dict[str, Any]) -> web.Response:
        self._joined[digits] = body["name"]
        return _json(_participants(digits)[1] | {"name": body["name"]}, 201)

    def _send(self, digits: str) -> web.Response:
        self._messages += 1
        self._answered.add(digits)
        action = {
            "id": f"conv_action_{digits}",
            "type": "action-send-message",
            "status": "PENDING",
            "conversationId": _CONVERSATION + digits,
            "related": {"messageSid": f"SM{self._messages:032x}"},
            "createdAt": _TIME,
            "updatedAt": _TIME,
            "completedAt": None,
            "failureReason": None,
        }
        return _json(action, 202)

    def _create(self, body: dict[str, Any]) -> web.Response:
        (address,) = body["participants"][0]["addresses"]
        digits = address["address"].lstrip("+").zfill(26)
        if self._has_all or digits in self._open:
            named = {"X-Conflicting-Resource-Id": _CONVERSATION + digits}
            return _json({"code": 400, "message": "Address mapping already exists", "status": 409}, 409, named)
        self._open.add(digits)
        conversation = {
            "id": _CONVERSATION + digits,
            "accountId": ACCOUNT,
            "configurationId": body["configurationId"],
            "status": "ACTIVE",
            "name": None,
            "metadata": {},
            "createdAt": _TIME,
            "updatedAt": _TIME,
            "configuration": _SETTINGS,
            "participants": _participants(digits, address.get("channelId")),
        }
        return _json(conversation, 201)


def _participants(digits: str, channel_id: str | None = None) -> list[dict[str, Any]]:
    sides = (("CUSTOMER", "0", f"+{digits.lstrip('0')}", channel_id), ("AI_AGENT", "1", OURS, None))
    return [
        {
            "id": _PARTICIPANT + side + digits[1:],
            "conversationId": _CONVERSATION + digits,
            "accountId": ACCOUNT,
            "name": None,
            "type": kind,
            "profileId": None,
            "addresses": [{"channel": "SMS", "address": address, "channelId": its_id}],
            "createdAt": _TIME,
            "updatedAt": _TIME,
        }
        for kind, side, address, its_id in sides
    ]


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type="application/json")


async def lean_api(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    api = LeanApi(arguments.latency, has_all=arguments.has_all, is_alone=arguments.is_alone)
    runner = web.ServerRunner(web.Server(api.handle, access_log=None), shutdown_timeout=1)  # no routes, no middlewares
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
        await Stop().wait()
    finally:
        await runner.cleanup()
    return 0
