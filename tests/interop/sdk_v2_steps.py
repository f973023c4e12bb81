"""The calls of Conversations v2 and of the Memory API, in order (see sdk_steps)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from tests.interop.sdk_step import HOOK, Step, address, throttled
from tests.support.accounts import CONFIGURATION, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROFILES: Final = "/v1/Stores/{}/Profiles"
STORE: Final = "mem_store_00000000000000000000000001"
NOBODY: Final = "conv_conversation_00000000000000000000000000"
GROUPING: Final = "GROUP_BY_PARTICIPANT_ADDRESSES_AND_CHANNEL_TYPE"
_ROOT: Final = "/v2/ControlPlane/Configurations"
_ONE: Final = f"{_ROOT}/{{}}"
_AT: Final = "conversations.v2.configurations"
#: A configuration with every field that a create takes.
_CONFIGURATION: Final[dict[str, Any]] = {
    "displayName": "Support",
    "description": "of the tests",
    "conversationGroupingType": "GROUP_BY_PROFILE",
    "memoryStoreId": STORE,
    "channelSettings": {"SMS": {"statusTimeouts": {"inactive": 1, "closed": 2}}},
    "statusCallbacks": [{"url": HOOK, "method": "POST"}],
    "intelligenceConfigurationIds": ["intelligence_configuration_00000000000000000000000001"],
    "memoryExtractionEnabled": True,
}


def configurations() -> Iterator[Step]:
    """Yield the control plane of Conversations v2."""
    yield from configurations_made()
    yield from configurations_changed()


def configurations_made() -> Iterator[Step]:
    """Yield what creates configurations, once and repeated, and the operations that this begins."""
    create = Step(
        route=f"POST {_ROOT}", at=_AT, verb="create", model="CreateConfigurationRequest", body=_CONFIGURATION,
        status=202, keep="operation=@Operation-Id",
    )  # fmt: skip
    operation = Step(
        route="GET /v2/ControlPlane/Operations/{}", at="conversations.v2.operations($operation)", verb="fetch",
        keep="configuration=related.configurationId",
    )  # fmt: skip
    yield create
    yield operation
    yield replace(operation, at="conversations.v2.operations(proc_job_0)", status=404, code=20404, keep="")
    yield throttled(operation)
    once = {"Idempotency-Key": "00000000-0000-4000-8000-000000000001"}
    repeated = replace(create, body=_CONFIGURATION | {"displayName": "Once"}, fields=once, keep="once=@Operation-Id")
    yield from (repeated, repeated)
    yield replace(operation, at="conversations.v2.operations($once)", keep="single=related.configurationId")
    again = {"Idempotency-Key": "00000000-0000-4000-8000-000000000002"}
    yield Step(route=f"DELETE {_ONE}", at=f"{_AT}($single)", verb="delete", status=202, fields=again)
    pending = replace(create, body=_CONFIGURATION | {"displayName": "Later"}, switches={"operationSeconds": 3600})
    yield replace(pending, keep="pending=@Operation-Id")
    yield replace(operation, at="conversations.v2.operations($pending)", keep="", switches={"operationSeconds": 0})
    yield replace(create, status=409, code=400, keep="")
    yield replace(create, body=_CONFIGURATION | {"displayName": "?"}, status=400, code=20001, keep="")


def configurations_changed() -> Iterator[Step]:
    """Yield the reading, replacing, changing and deleting of configurations."""
    fetch = Step(route=f"GET {_ONE}", at=f"{_AT}($configuration)", verb="fetch")
    yield fetch
    yield Step(
        route=f"PUT {_ONE}", at=f"{_AT}($configuration)", verb="update", model="UpdateConfigurationRequest",
        body=_CONFIGURATION | {"description": "replaced"}, status=202,
    )  # fmt: skip
    yield Step(
        route=f"PATCH {_ONE}", at=f"{_AT}($configuration)", verb="patch", model="PatchConfigurationRequest",
        body={"memoryExtractionEnabled": False}, status=202,
    )  # fmt: skip
    yield fetch
    yield Step(route=f"GET {_ROOT}", at=_AT, verb="list", fields={"pageSize": 1}, rows=3)
    yield Step(route=f"GET {_ROOT}", at=_AT, verb="list", fields={"pageSize": 1, "memoryStoreId": STORE}, rows=3)
    yield throttled(fetch)
    yield Step(route=f"DELETE {_ONE}", at=f"{_AT}($configuration)", verb="delete", status=202)
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
    yield from profiles()
    yield from recollections()


def profiles() -> Iterator[Step]:
    """Yield the profiles of the memory store."""
    route, at = _PROFILES, f"memory.v1.profiles({STORE})"
    create = Step(
        route=f"POST {route}", at=at, verb="create", model="ProfileData",
        body={"traits": {"Contact": {"phone": "+15551230001"}}}, status=202, keep="profile=id",
    )  # fmt: skip
    lookup = Step(
        route=f"POST {route}/Lookup", at=f"memory.v1.lookup({STORE})", verb="create", model="Identifier",
        body={"idType": "phone", "value": "+15551230001"},
    )  # fmt: skip
    fetch = Step(route=f"GET {route}/{{}}", at=f"{at}($profile)", verb="fetch")
    yield create
    yield replace(create, body={"traits": {}}, status=400, code=20001, keep="")
    yield lookup
    yield replace(lookup, body={"idType": "email", "value": "nobody@example.com"})
    yield replace(lookup, body={"idType": "phone", "value": ""}, status=400, code=20001)
    yield fetch
    yield replace(fetch, at=f"{at}(mem_profile_0)", status=404, code=20404)
    yield throttled(create)
    yield throttled(lookup)
    yield throttled(fetch)


def recollections() -> Iterator[Step]:
    """Yield what is noted of a profile and recalled; its profile is the one that was kept."""
    route, inside = f"{_PROFILES}/{{}}", f"({STORE},$profile)"
    observations = Step(
        route=f"POST {route}/Observations", at=f"memory.v1.observations{inside}", verb="create",
        model="CreateObservationsRequest", status=202,
        body={"observations": [{"content": "likes tea", "source": "tests", "occurredAt": "2026-01-01T12:00:00Z"}]},
    )  # fmt: skip
    summaries = Step(
        route=f"POST {route}/ConversationSummaries", at=f"memory.v1.conversation_summaries{inside}",
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
        route=f"POST {route}/Recall", at=f"memory.v1.recall{inside}", verb="create",
        model="MemoryRetrievalRequest", body={"observationsLimit": 5, "summariesLimit": 5},
    )  # fmt: skip
    yield observations
    yield summaries
    yield recall
    for step in (observations, summaries, recall):
        elsewhere = step.at.replace("$profile", "mem_profile_0")
        yield replace(step, at=elsewhere, status=404, code=20404)
        yield throttled(step)


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
