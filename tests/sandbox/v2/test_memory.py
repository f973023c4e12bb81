"""The Memory API's routes that Twilio's agent SDK calls."""

from __future__ import annotations

from tests.sandbox.harness import make_participant
from tests.support.accounts import CUSTOMER

PATH = "/v1/Stores/mem_store_00000000000000000000000001/Profiles"


async def test_a_profile_is_looked_up_and_created_once(sandbox):
    """An unknown number has no profile; creating one twice gives the same, which conversations resolve too."""
    lookup = {"idType": "phone", "value": f"whatsapp:{CUSTOMER}"}
    assert (await sandbox.post(f"{PATH}/Lookup", lookup)).body == {"normalizedValue": CUSTOMER, "profiles": []}
    made = [await sandbox.post(PATH, {"traits": {"Contact": {"phone": CUSTOMER}}}) for _ in range(2)]
    assert [each.status for each in made] == [202, 202]
    (profile,) = {each.body["id"] for each in made}
    assert (await sandbox.post(f"{PATH}/Lookup", lookup)).body["profiles"] == [profile]
    shown = (await sandbox.get(f"{PATH}/{profile}")).body
    assert (shown["id"], shown["traits"]) == (profile, {"Contact": {"phone": CUSTOMER}})
    (customer,) = (await sandbox.open(make_participant("CUSTOMER", CUSTOMER)))["participants"]
    assert customer["profileId"] == profile


async def test_what_is_recorded_is_recalled(sandbox):
    """Observations and summaries come back, the newest first and up to the limits."""
    profile = (await sandbox.post(PATH, {"traits": {"Contact": {"phone": CUSTOMER}}})).body["id"]
    path = f"{PATH}/{profile}"
    for text in ("one", "two"):
        body = {"observations": [{"content": text, "source": "x", "occurredAt": "2026-01-01T00:00:00+00:00"}]}
        assert (await sandbox.post(f"{path}/Observations", body)).status == 202
    await sandbox.post(f"{path}/ConversationSummaries", {"summaries": [{"content": "all", "conversationId": "c"}]})
    recalled = (await sandbox.post(f"{path}/Recall", {"query": "x"})).body
    assert [each["content"] for each in recalled["observations"]] == ["two", "one"]
    assert [each["conversationId"] for each in recalled["summaries"]] == ["c"]
    few = (await sandbox.post(f"{path}/Recall", {"observationsLimit": 1, "summariesLimit": 0})).body
    assert ([each["content"] for each in few["observations"]], few["summaries"]) == (["two"], [])


async def test_accepted_writes_have_times_that_are_null(sandbox):
    """A 202 has no times yet: they are null, since npm's client reads those that are missing as now."""
    made = (await sandbox.post(PATH, {"traits": {"Contact": {"phone": CUSTOMER}}})).body
    assert made["createdAt"] is None
    path, row = f"{PATH}/{made['id']}", {"content": "all"}
    for kind, name in (("Observations", "observations"), ("ConversationSummaries", "summaries")):
        answer = await sandbox.post(f"{path}/{kind}", {name: [row]})
        assert [answer.body[each] for each in ("occurredAt", "createdAt", "updatedAt")] == [None] * 3


async def test_refusals_of_the_memory_api(sandbox):
    """An unknown profile is a 404, traits without an identifier and limits out of range are 400s."""
    assert (await sandbox.get(f"{PATH}/mem_profile_0")).status == 404
    assert (await sandbox.post(f"{PATH}/mem_profile_0/Recall")).status == 404
    assert (await sandbox.post(PATH, {"traits": {}})).status == 400
    profile = (await sandbox.post(PATH, {"traits": {"Contact": {"phone": CUSTOMER}}})).body["id"]
    assert (await sandbox.post(f"{PATH}/{profile}/Recall", {"observationsLimit": 101})).status == 400
    assert (await sandbox.post(f"{PATH}/{profile}/Observations", {"observations": []})).status == 400
