"""The calls of classic Conversations (v1), in order (see sdk_steps)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.interop.sdk_step import HOOK, Step, throttled
from tests.support.accounts import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator


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
