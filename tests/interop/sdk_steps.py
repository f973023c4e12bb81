"""The calls that tests/interop/sdks.py makes, in order: the table of the sandbox's operations as both SDKs spell them.

`$name` in a path or argument is what an earlier step kept. A step whose route the sandbox does not offer is skipped;
a route of the sandbox that no step names is reported.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS: Final = "+15557650000"
#: Nobody listens there, and nothing leaves the machine.
HOOK: Final = "http://127.0.0.1:9/sandbox"
STORE: Final = "mem_store_00000000000000000000000001"
CONFIGURATION: Final = "conv_configuration_00000000000000000000000001"
NOBODY: Final = "conv_conversation_00000000000000000000000000"
GROUPING: Final = "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE"
_STEP: Final = re.compile(r"\w+|\([^()]*\)")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call: `route` is its method and path, `{}` for each id; `at` and `verb` are the SDK's names.

    `keep` is `name=field`, the field of the response (`@` a header, dots a way down). `code` marks a refusal. `arm` is
    a fault of the sandbox for this request, `switches` change it before. `lost` names fields of the request that the
    response tells in another way. `rows` is the number of rows of a list. `needs` is the route of the step before that
    this one shows the effect of.
    """

    route: str
    at: str
    verb: str
    model: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    status: int = 200
    code: int | None = None
    keep: str = ""
    arm: dict[str, Any] = field(default_factory=dict)
    switches: dict[str, Any] = field(default_factory=dict)
    rows: int | None = None
    lost: tuple[str, ...] = ()
    needs: str = ""

    @property
    def path(self) -> list[str | list[str]]:
        """The way from the client to the resource: attributes, and the arguments of calls."""
        return [
            [each.strip() for each in one[1:-1].split(",") if each.strip()] if one.startswith("(") else one
            for one in _STEP.findall(self.at)
        ]


def throttled(step: Step) -> Step:
    """Return the step refused once for too many requests."""
    return replace(step, status=429, code=20429, arm={"status": 429, "retryAfter": 1, "times": 1}, keep="", rows=None)


def address(number: str, channel: str = "SMS") -> dict[str, str]:
    """Return an address as participants have it."""
    return {"channel": channel, "address": number}


def steps() -> Iterator[Step]:
    """Yield all steps."""
    yield from configurations()
    yield from conversations()
    yield from participants()
    yield from communications()
    yield from actions()
    yield from memory()
    yield from ends()
    for number, scope in enumerate(("", ".services($service)"), 1):
        yield from classic("/v1/Services/{}" if scope else "/v1", f"conversations.v1{scope}", f"+1555124000{number}")


def configurations() -> Iterator[Step]:
    """Yield the control plane of Conversations v2."""
    root, one = "/v2/ControlPlane/Configurations", "/v2/ControlPlane/Configurations/{}"
    at = "conversations.v2.configurations"
    body = {
        "displayName": "Support",
        "description": "of the tests",
        "conversationGroupingType": "GROUP_BY_PROFILE",
        "memoryStoreId": STORE,
        "channelSettings": {"SMS": {"statusTimeouts": {"inactive": 1, "closed": 2}}},
        "statusCallbacks": [{"url": HOOK, "method": "POST"}],
        "intelligenceConfigurationIds": ["intelligence_configuration_00000000000000000000000001"],
        "memoryExtractionEnabled": True,
    }
    create = Step(
        route=f"POST {root}", at=at, verb="create", model="CreateConfigurationRequest", body=body, status=202,
        keep="operation=@Operation-Id",
    )  # fmt: skip
    fetch = Step(route=f"GET {one}", at=f"{at}($configuration)", verb="fetch")
    operation = Step(
        route="GET /v2/ControlPlane/Operations/{}", at="conversations.v2.operations($operation)", verb="fetch",
        keep="configuration=related.configurationId",
    )  # fmt: skip
    yield create
    yield operation
    yield replace(operation, at="conversations.v2.operations(proc_job_0)", status=404, code=20404, keep="")
    yield throttled(operation)
    once = {"Idempotency-Key": "00000000-0000-4000-8000-000000000001"}
    repeated = replace(create, body=body | {"displayName": "Once"}, fields=once, keep="once=@Operation-Id")
    yield from (repeated, repeated)
    yield replace(operation, at="conversations.v2.operations($once)", keep="single=related.configurationId")
    again = {"Idempotency-Key": "00000000-0000-4000-8000-000000000002"}
    yield Step(route=f"DELETE {one}", at=f"{at}($single)", verb="delete", status=202, fields=again)
    pending = replace(create, body=body | {"displayName": "Later"}, switches={"operationSeconds": 3600})
    yield replace(pending, keep="pending=@Operation-Id")
    yield replace(operation, at="conversations.v2.operations($pending)", keep="", switches={"operationSeconds": 0})
    yield replace(create, status=409, code=400, keep="")
    yield replace(create, body=body | {"displayName": "?"}, status=400, code=20001, keep="")
    yield fetch
    yield Step(
        route=f"PUT {one}", at=f"{at}($configuration)", verb="update", model="UpdateConfigurationRequest",
        body=body | {"description": "replaced"}, status=202,
    )  # fmt: skip
    yield Step(
        route=f"PATCH {one}", at=f"{at}($configuration)", verb="patch", model="PatchConfigurationRequest",
        body={"memoryExtractionEnabled": False}, status=202,
    )  # fmt: skip
    yield fetch
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"pageSize": 1}, rows=3)
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"pageSize": 1, "memoryStoreId": STORE}, rows=3)
    yield throttled(fetch)
    yield Step(route=f"DELETE {one}", at=f"{at}($configuration)", verb="delete", status=202)
    yield replace(fetch, status=404, code=20404)


def conversations() -> Iterator[Step]:
    """Yield the conversations of v2, of which the first stays for the steps after."""
    root, one, at = "/v2/Conversations", "/v2/Conversations/{}", "conversations.v2.conversations"
    body = {"configurationId": CONFIGURATION, "name": "Order 7", "metadata": {"case": "7"}}
    create = Step(
        route=f"POST {root}", at=at, verb="create", model="CreateConversationWithConfigRequest", body=body, status=201,
        keep="conversation=id",
    )  # fmt: skip
    people = [
        {"type": "CUSTOMER", "name": "Ana", "addresses": [address("+15551230009")]},
        {"type": "AGENT", "addresses": [address(OURS)]},
    ]
    fetch = Step(route=f"GET {one}", at=f"{at}($conversation)", verb="fetch")
    put = Step(
        route=f"PUT {one}", at=f"{at}($conversation)", verb="update", model="UpdateConversationByIdRequest",
        body={"name": "Order 8", "status": "ACTIVE", "metadata": {"case": "8"}},
    )  # fmt: skip
    yield create
    yield replace(create, body=body | {"participants": people}, keep="pair=id")
    yield replace(create, body=body | {"participants": people}, status=409, code=400, keep="")
    yield replace(create, body={"configurationId": "conv_configuration_0"}, status=404, code=20404, keep="")
    inline = {"conversationGroupingType": GROUPING, "memoryStoreId": STORE}
    inline |= {"channelSettings": {"SMS": {"statusTimeouts": {"inactive": 1, "closed": 2}}}}
    yield replace(create, body={"configuration": inline}, keep="")
    yield fetch
    yield replace(fetch, at=f"{at}($pair)")
    yield put
    yield replace(put, body={"status": "SLEEPING"}, status=400, code=20001)
    yield Step(
        route=f"PATCH {one}", at=f"{at}($conversation)", verb="patch", model="PatchConversationByIdRequest",
        body={"metadata": {"case": "9"}, "configuration": {"statusCallbacks": [{"url": HOOK, "method": "POST"}]}},
    )  # fmt: skip
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"pageSize": 1}, rows=3)
    yield Step(
        route=f"GET {root}", at=at, verb="list", fields={"pageSize": 2, "status": ["ACTIVE", "INACTIVE"]}, rows=3
    )
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"status": ["CLOSED"]}, rows=0)
    yield replace(fetch, at=f"{at}({NOBODY})", status=404, code=20404)
    yield throttled(fetch)
    yield throttled(put)


def participants() -> Iterator[Step]:
    """Yield the participants of v2."""
    root, one = "/v2/Conversations/{}/Participants", "/v2/Conversations/{}/Participants/{}"
    at = "conversations.v2.participants($conversation)"
    body = {"type": "CUSTOMER", "name": "Ana", "addresses": [address("+15551230001")]}
    create = Step(
        route=f"POST {root}", at=at, verb="create", model="CreateParticipantInConversationRequest", body=body,
        status=201, keep="customer=id",
    )  # fmt: skip
    fetch = Step(route=f"GET {one}", at=f"{at}($customer)", verb="fetch")
    put = Step(
        route=f"PUT {one}", at=f"{at}($customer)", verb="update", model="UpdateParticipantInConversationRequest",
        body=body | {"name": "Ana S."},
    )  # fmt: skip
    channel_id = "SM" + "a" * 32
    agent = {"type": "AI_AGENT", "addresses": [address(OURS) | {"channelId": channel_id}]}
    yield create
    yield replace(create, body=agent, keep="agent=id")
    mailbox = address("bo@example.com", "EMAIL")
    yield replace(create, body={"type": "HUMAN_AGENT", "addresses": [mailbox]}, keep="")
    yield replace(create, body={"addresses": [address("whatsapp:+15551230003", "WHATSAPP")]}, keep="")
    yield replace(create, status=409, code=400, keep="")
    yield replace(create, body={"type": "CUSTOMER"}, status=400, code=20001, keep="")
    yield fetch
    yield replace(fetch, at=f"{at}($agent)")
    yield put
    yield replace(put, body={"type": "PARROT", "addresses": []}, status=400, code=20001)
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"pageSize": 2}, rows=4)
    yield replace(fetch, at=f"{at}(conv_participant_0)", status=404, code=20404)
    yield throttled(fetch)


def communications() -> Iterator[Step]:
    """Yield the communications of v2."""
    root, one = "/v2/Conversations/{}/Communications", "/v2/Conversations/{}/Communications/{}"
    at = "conversations.v2.communications($conversation)"
    body = {
        "author": address("+15551230001"),
        "content": {"type": "TEXT", "text": "hello"},
        "recipients": [address(OURS)],
        "channelId": "SM" + "b" * 32,
        "resourceId": "SM" + "b" * 32,
        "occurredAt": "2026-01-01T12:00:00Z",
    }
    create = Step(
        route=f"POST {root}", at=at, verb="create", model="CreateCommunicationInConversationRequest", body=body,
        status=201, keep="communication=id",
    )  # fmt: skip
    fetch = Step(route=f"GET {one}", at=f"{at}($communication)", verb="fetch")
    spoken = {"type": "TRANSCRIPTION", "text": "good day"}
    spoken |= {"transcription": {"channel": 0, "confidence": 0.5, "engine": "none"}}
    parties = {"author": address("+15551230009"), "recipients": [address("+15557650005")]}
    yield create
    yield replace(create, body=parties | {"content": {"type": "TEXT", "text": ""}}, keep="")
    yield replace(create, body=parties | {"content": spoken}, keep="")
    yield replace(create, body=body | {"content": {"type": "SONG", "text": "la"}}, status=400, code=20001, keep="")
    yield replace(create, at=f"conversations.v2.communications({NOBODY})", status=404, code=20404, keep="")
    yield fetch
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"pageSize": 1}, rows=3)
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"channelId": "SM" + "b" * 32}, rows=1)
    yield replace(fetch, at=f"{at}(conv_communication_0)", status=404, code=20404)
    yield throttled(fetch)


def actions() -> Iterator[Step]:
    """Yield the actions of v2: one that completes, one that is pending, and one that fails."""
    root, one = "/v2/Conversations/{}/Actions", "/v2/Conversations/{}/Actions/{}"
    at = "conversations.v2.actions($conversation)"
    payload = {
        "from": {"participantId": "$agent", "channel": "SMS", "address": OURS},
        "to": [{"participantId": "$customer"}],
        "content": {"text": "hi", "mediaUrls": ["https://media.example.com/1"]},
    }
    create = Step(
        route=f"POST {root}", at=at, verb="create", model="CreateConversationActionRequest",
        body={"type": "SEND_MESSAGE", "payload": payload}, status=202, keep="action=id", lost=("type",),
    )  # fmt: skip
    fetch = Step(route=f"GET {one}", at=f"{at}($action)", verb="fetch")
    yield create
    yield fetch
    yield replace(create, switches={"actionDelaySeconds": 3600})
    yield fetch
    yield replace(create, switches={"actionDelaySeconds": 0, "actionOutcome": "FAILED"})
    yield fetch
    yield replace(create, body={"type": "SING", "payload": payload}, status=400, code=20001, keep="")
    yield replace(fetch, at=f"{at}(conv_action_0)", status=404, code=20404)
    yield throttled(fetch)


def memory() -> Iterator[Step]:
    """Yield the part of the Memory API that the sandbox has."""
    profiles, at = "/v1/Stores/{}/Profiles", f"memory.v1.profiles({STORE})"
    inside = f"({STORE},$profile)"
    create = Step(
        route=f"POST {profiles}", at=at, verb="create", model="ProfileData",
        body={"traits": {"Contact": {"phone": "+15551230001"}}}, status=202, keep="profile=id",
    )  # fmt: skip
    lookup = Step(
        route=f"POST {profiles}/Lookup", at=f"memory.v1.lookup({STORE})", verb="create", model="Identifier",
        body={"idType": "phone", "value": "+15551230001"},
    )  # fmt: skip
    fetch = Step(route=f"GET {profiles}/{{}}", at=f"{at}($profile)", verb="fetch")
    observations = Step(
        route=f"POST {profiles}/{{}}/Observations", at=f"memory.v1.observations{inside}", verb="create",
        model="CreateObservationsRequest", status=202,
        body={"observations": [{"content": "likes tea", "source": "tests", "occurredAt": "2026-01-01T12:00:00Z"}]},
    )  # fmt: skip
    summaries = Step(
        route=f"POST {profiles}/{{}}/ConversationSummaries", at=f"memory.v1.conversation_summaries{inside}",
        verb="create", model="CreateSummariesRequest", status=202,
        body={
            "summaries": [
                {
                    "content": "asked for tea",
                    "source": "tests",
                    "conversationId": NOBODY,
                    "occurredAt": "2026-01-01T12:00:00Z",
                }
            ]
        },
    )  # fmt: skip
    recall = Step(
        route=f"POST {profiles}/{{}}/Recall", at=f"memory.v1.recall{inside}", verb="create",
        model="MemoryRetrievalRequest", body={"observationsLimit": 5, "summariesLimit": 5},
    )  # fmt: skip
    yield create
    yield replace(create, body={"traits": {}}, status=400, code=20001, keep="")
    yield lookup
    yield replace(lookup, body={"idType": "email", "value": "nobody@example.com"})
    yield replace(lookup, body={"idType": "phone", "value": ""}, status=400, code=20001)
    yield fetch
    yield replace(fetch, at=f"{at}(mem_profile_0)", status=404, code=20404)
    yield observations
    yield summaries
    yield recall
    for step in (observations, summaries, recall):
        elsewhere = step.at.replace("$profile", "mem_profile_0")
        yield replace(step, at=elsewhere, status=404, code=20404)
        yield throttled(step)
    yield throttled(create)
    yield throttled(lookup)
    yield throttled(fetch)


def ends() -> Iterator[Step]:
    """Yield the end of a conversation of v2, and an error in each form that the API may use."""
    one, at = "/v2/Conversations/{}", "conversations.v2.conversations"
    close = Step(
        route=f"PATCH {one}", at=f"{at}($pair)", verb="patch", model="PatchConversationByIdRequest",
        body={"status": "CLOSED"},
    )  # fmt: skip
    fetch = Step(route=f"GET {one}", at=f"{at}($conversation)", verb="fetch", status=404, code=20404)
    yield close
    yield replace(close, body={"status": "ACTIVE"}, status=409, code=400)
    yield Step(route="GET /v2/Conversations", at=at, verb="list", fields={"status": ["CLOSED"], "pageSize": 1}, rows=1)
    yield Step(route=f"DELETE {one}", at=f"{at}($conversation)", verb="delete", status=202)
    for form in ("A", "B", "C"):
        yield replace(fetch, switches={"errorShape": form})
    yield Step(
        route="GET /v2/Conversations", at=at, verb="list", fields={"pageSize": 1}, rows=2,
        switches={"errorShape": "auto"},
    )  # fmt: skip


def classic(prefix: str, at: str, number: str) -> Iterator[Step]:
    """Yield the classic API: of the default service, or of one by its SID."""
    yield from classic_conversations(prefix, at)
    yield from classic_participants(prefix, at, number)
    yield from classic_messages(prefix, at)
    yield from classic_webhooks(prefix, at)
    one = "$conversation"
    yield Step(route=f"DELETE {prefix}/Conversations/{{}}", at=f"{at}.conversations({one})", verb="delete", status=204)
    yield Step(
        route=f"GET {prefix}/Conversations/{{}}", at=f"{at}.conversations({one})", verb="fetch", status=404, code=50350
    )


def classic_conversations(prefix: str, at: str) -> Iterator[Step]:
    """Yield classic conversations, of which the first stays."""
    root, one, at = f"{prefix}/Conversations", f"{prefix}/Conversations/{{}}", f"{at}.conversations"
    name = f"order {len(prefix)}"
    fields = {"FriendlyName": "Order", "UniqueName": name, "Attributes": '{"a": 1}', "Timers.Inactive": "PT5M"}
    create = Step(route=f"POST {root}", at=at, verb="create", fields=fields, status=201, keep="conversation=sid")
    fetch = Step(route=f"GET {one}", at=f"{at}($conversation)", verb="fetch")
    update = Step(route=f"POST {one}", at=f"{at}($conversation)", verb="update", fields={"FriendlyName": "Order 8"})
    bound = {"Bindings.Email.Address": "support@example.com", "Bindings.Email.Name": "Support"}
    yield create
    yield replace(create, fields={}, keep="other=sid")
    yield replace(create, fields=bound | {"X-Twilio-Webhook-Enabled": "true"}, keep="bound=sid")
    yield replace(create, status=409, code=50353, keep="")
    yield replace(create, fields={"Attributes": "{"}, status=400, code=50304, keep="")
    yield fetch
    yield replace(fetch, at=f"{at}($bound)")
    yield update
    yield replace(update, fields={"State": "asleep"}, status=400, code=20001)
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"pageSize": 1, "State": "active"})
    yield replace(update, at=f"{at}($other)", fields={"State": "closed"})
    yield Step(route=f"GET {root}", at=at, verb="list", fields={"pageSize": 2})
    yield replace(fetch, at=f"{at}(CH0)", status=404, code=50350)
    yield throttled(fetch)
    for name in ("bound", "other"):
        yield Step(route=f"DELETE {one}", at=f"{at}(${name})", verb="delete", status=204)


def classic_participants(prefix: str, at: str, number: str) -> Iterator[Step]:
    """Yield classic participants, one by address and one by identity, and whose conversations they are in."""
    root, one = f"{prefix}/Conversations/{{}}/Participants", f"{prefix}/Conversations/{{}}/Participants/{{}}"
    here = f"{at}.conversations($conversation).participants"
    pair = {"MessagingBinding.Address": number, "MessagingBinding.ProxyAddress": OURS}
    create = Step(route=f"POST {root}", at=here, verb="create", fields=pair, status=201, keep="customer=sid")
    fetch = Step(route=f"GET {one}", at=f"{here}($customer)", verb="fetch")
    update = Step(route=f"POST {one}", at=f"{here}($user)", verb="update", fields={"Attributes": '{"vip": true}'})
    search = Step(
        route=f"GET {prefix}/ParticipantConversations", at=f"{at}.participant_conversations", verb="list",
        fields={"Address": number, "pageSize": 1}, rows=1,
    )  # fmt: skip
    identity = f"user-{len(prefix)}"
    yield create
    yield replace(create, fields={"Identity": identity, "Attributes": '{"vip": false}'}, keep="user=sid")
    yield replace(create, fields={"Identity": f"{identity}-2"}, keep="gone=sid")
    whatsapp = {name: f"whatsapp:{value}" for name, value in pair.items()}
    yield replace(create, fields=whatsapp, keep="")
    yield replace(create, status=409, code=50433, keep="")
    yield replace(create, fields={"Identity": "x", "Attributes": "{"}, status=400, code=50304, keep="")
    yield fetch
    yield replace(fetch, at=f"{here}({identity})")
    yield update
    yield replace(update, fields={"LastReadMessageIndex": 3})
    yield replace(update, fields={"Attributes": "{"}, status=400, code=50304)
    yield Step(route=f"GET {root}", at=here, verb="list", fields={"pageSize": 1}, rows=4)
    yield Step(
        route=f"POST {prefix}/Conversations", at=f"{at}.conversations", verb="create", status=201, keep="second=sid"
    )
    second = f"{at}.conversations($second).participants"
    yield replace(create, at=second, fields={"Identity": identity}, keep="")
    yield search
    yield replace(search, fields={"Identity": identity, "pageSize": 1}, rows=2)
    yield replace(search, fields={"Address": "+15551240009"}, rows=0)
    yield Step(route=f"DELETE {one}", at=f"{here}($gone)", verb="delete", status=204)
    yield replace(fetch, at=f"{here}($gone)", status=404, code=50432)
    yield throttled(fetch)
    yield throttled(search)


def classic_messages(prefix: str, at: str) -> Iterator[Step]:
    """Yield classic messages and their receipts."""
    root, one = f"{prefix}/Conversations/{{}}/Messages", f"{prefix}/Conversations/{{}}/Messages/{{}}"
    here = f"{at}.conversations($conversation).messages"
    fields = {"Body": "hello", "Author": "system", "Attributes": '{"a": 1}'}
    create = Step(route=f"POST {root}", at=here, verb="create", fields=fields, status=201, keep="message=sid")
    fetch = Step(route=f"GET {one}", at=f"{here}($message)", verb="fetch")
    update = Step(
        route=f"POST {one}", at=f"{here}($message)", verb="update", fields={"Body": "bye", "Attributes": "{}"}
    )
    receipts = f"{here}($message).delivery_receipts"
    receipt = Step(route=f"GET {one}/Receipts/{{}}", at=f"{receipts}($receipt)", verb="fetch")
    yield replace(create, fields={"Body": "first"}, keep="first=sid")
    yield replace(create, fields=fields | {"Body": "second"}, keep="second_message=sid")
    yield create
    yield replace(create, fields={"Body": "x", "Attributes": "{"}, status=400, code=50304, keep="")
    yield replace(create, at=f"{at}.conversations(CH0).messages", status=404, code=50350, keep="")
    yield fetch
    yield replace(create, fields={"MediaSid": "ME" + "0" * 32, "Author": "system"}, keep="")
    template = {"ContentSid": "HX" + "0" * 32, "ContentVariables": '{"1": "Ana"}'}
    yield replace(create, fields=template | {"Subject": "Order"}, keep="")
    yield Step(route=f"GET {root}", at=here, verb="list", fields={"pageSize": 1}, rows=5)
    yield Step(route=f"GET {root}", at=here, verb="list", fields={"pageSize": 2, "Order": "desc"}, rows=5)
    yield update
    yield replace(update, fields={"Author": "x", "DateUpdated": "2026-01-01T12:00:00Z"})
    yield replace(update, fields={"Attributes": "{"}, status=400, code=50304)
    yield fetch
    yield Step(
        route=f"GET {one}/Receipts",
        at=receipts,
        verb="list",
        fields={"pageSize": 1},
        rows=2,
        keep="receipt=delivery_receipts.0.sid",
    )
    yield receipt
    yield replace(receipt, at=f"{receipts}(DY0)", status=404, code=20404)
    yield throttled(receipt)
    yield Step(route=f"DELETE {one}", at=f"{here}($second_message)", verb="delete", status=204)
    yield replace(fetch, at=f"{here}($second_message)", status=404, code=50500, needs=f"DELETE {one}")
    yield replace(fetch, at=f"{here}(IM0)", status=404, code=50500)
    yield throttled(fetch)


def classic_webhooks(prefix: str, at: str) -> Iterator[Step]:
    """Yield the webhooks of one classic conversation."""
    root, one = f"{prefix}/Conversations/{{}}/Webhooks", f"{prefix}/Conversations/{{}}/Webhooks/{{}}"
    here = f"{at}.conversations($conversation).webhooks"
    fields = {
        "Target": "webhook",
        "Configuration.Url": HOOK,
        "Configuration.Method": "POST",
        "Configuration.Filters": ["onMessageAdded"],
    }
    told = ("Configuration.Method",)  # in small letters
    create = Step(
        route=f"POST {root}", at=here, verb="create", fields=fields, status=201, keep="webhook=sid", lost=told
    )
    fetch = Step(route=f"GET {one}", at=f"{here}($webhook)", verb="fetch")
    update = Step(
        route=f"POST {one}", at=f"{here}($webhook)", verb="update", fields={"Configuration.Method": "GET"}, lost=told
    )
    yield create
    yield replace(create, keep="")
    yield replace(create, fields=fields | {"Target": "pigeon"}, status=400, keep="")
    trigger = {"Target": "trigger", "Configuration.Triggers": ["tea"], "Configuration.Url": HOOK}
    yield replace(create, fields=trigger, keep="trigger=sid")
    studio = {"Target": "studio", "Configuration.FlowSid": "FW" + "0" * 32, "Configuration.ReplayAfter": 0}
    yield replace(create, fields=studio, keep="studio=sid")
    yield fetch
    yield replace(fetch, at=f"{here}($trigger)")
    yield replace(fetch, at=f"{here}($studio)")
    yield update
    yield replace(update, fields={"Configuration.Url": "nowhere"}, status=400)
    yield Step(route=f"GET {root}", at=here, verb="list", fields={"pageSize": 1}, rows=4)
    yield throttled(fetch)
    yield Step(route=f"DELETE {one}", at=f"{here}($webhook)", verb="delete", status=204)
    yield replace(fetch, status=404, code=50360)
    settings = f"{prefix}/Configuration/Webhooks"
    shown = Step(route=f"GET {settings}", at=f"{at}.configuration.webhooks()", verb="fetch")
    fields = {"PreWebhookUrl": HOOK, "PostWebhookUrl": HOOK, "Method": "GET", "Filters": ["onMessageAdded"]}
    change = replace(shown, route=f"POST {settings}", verb="update", fields=fields)
    yield shown
    yield change
    yield shown
    yield replace(change, fields={"Filters": ["onTea"]}, status=400, code=20001)
    yield throttled(change)
    yield replace(change, fields={"PreWebhookUrl": "", "PostWebhookUrl": ""}, lost=("PreWebhookUrl", "PostWebhookUrl"))
