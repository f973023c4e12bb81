"""Every number that comes in has a range: one outside it is a 400, and breaks no resource, list or page afterwards."""

from __future__ import annotations

import pytest

from tests.sandbox.classic.harness import Classic
from tests.sandbox.harness import BY_CHANNEL, Answer, basic, make_communication, make_participant

#: Over 64 bits, over what a double holds exactly, and over the digits that Python reads.
LARGE = ("18446744073709551616", "1" + "0" * 40, "9" * 5000)
CONFIGURATION = f"/v2/ControlPlane/Configurations/{BY_CHANNEL}"


async def send(sandbox, method, path, text) -> Answer:
    """Send a JSON text as it is; Python's own writer would not write all of these numbers."""
    headers = basic() | {"Content-Type": "application/json"}
    return await sandbox.call(method, path, headers=headers, data=text)


async def readable(sandbox, *paths):
    """Assert that the resources can be read."""
    for path in paths:
        answer = await sandbox.get(path)
        assert answer.status == 200, (path, answer.raw)


@pytest.mark.parametrize("number", [*LARGE, "-1", "1.5", "1e3", " 1", "٣", "2147483648", ""])
async def test_a_read_index_has_a_range(sandbox, number):
    """LastReadMessageIndex is a whole number of 31 bits; the participant, its list and look-ups stay readable."""
    classic = Classic(sandbox)
    sid = await classic.open()
    member = (await classic.join(sid, Identity="ana")).body["sid"]
    path = f"/Conversations/{sid}/Participants/{member}"
    assert (await classic.form(path, {"LastReadMessageIndex": number})).status == 400
    assert (await classic.form(path, {"LastReadMessageIndex": "2147483647"})).status == 200
    assert (await classic.get(path)).body["last_read_message_index"] == 2147483647
    assert (await classic.form(path, {"LastReadMessageIndex": "null"})).body["last_read_message_index"] is None
    await readable(sandbox, f"/v1{path}", f"/v1/Conversations/{sid}/Participants")


@pytest.mark.parametrize(
    "duration", [*(f"P{number}D" for number in LARGE), *(f"PT{number}S" for number in LARGE), "P36501D", "PT٣٣٣٣S"]
)
@pytest.mark.parametrize("timer", ["Timers.Inactive", "Timers.Closed"])
async def test_a_classic_timer_has_a_range(sandbox, timer, duration):
    """A timer is at most 100 years; conversations and their list stay readable."""
    classic = Classic(sandbox)
    sid = await classic.open()
    assert (await classic.form("/Conversations", {timer: duration})).status == 400
    assert (await classic.form(f"/Conversations/{sid}", {timer: duration})).status == 400
    assert (await classic.form(f"/Conversations/{sid}", {timer: "P36500D"})).status == 200
    await readable(sandbox, f"/v1/Conversations/{sid}", "/v1/Conversations")


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "2026-13-01T00:00:00Z"])
@pytest.mark.parametrize("field", ["DateCreated", "DateUpdated"])
async def test_an_imported_time_is_one_that_can_be_written(sandbox, field, time):
    """A time before the year 1 or after 9999 in UTC is a 400, of a conversation and of a participant."""
    classic = Classic(sandbox)
    sid = await classic.open()
    member = (await classic.join(sid)).body["sid"]
    for path in ("", f"/{sid}", f"/{sid}/Participants/{member}"):
        answer = await classic.form(f"/Conversations{path}", {field: time})
        assert (answer.status, field in answer.body["message"]) == (400, True), path
    await readable(sandbox, "/v1/Conversations", f"/v1/Conversations/{sid}/Participants")


@pytest.mark.parametrize("name", ["Page", "PageSize"])
@pytest.mark.parametrize("number", [*LARGE, "-1"])
async def test_classic_pages(sandbox, name, number):
    """The paging parameters of a classic list have a range."""
    assert (await sandbox.get("/v1/Conversations", params={name: number})).status == 400


@pytest.mark.parametrize("number", [*LARGE, "0", "-1", "1001"])
async def test_pages(sandbox, number):
    """`pageSize` has a range."""
    assert (await sandbox.get("/v2/Conversations", params={"pageSize": number})).status == 400


@pytest.mark.parametrize("number", [*LARGE, "-" + LARGE[0], "1e400"])
async def test_free_json_of_a_communication(sandbox, number):
    """No number in a transcription, at any depth, breaks the list of communications."""
    made = await sandbox.open()
    path = f"/v2/Conversations/{made['id']}/Communications"
    for free in (f'"confidence": {number}', f'"words": [{{"more": {number}}}]', f'"other": {number}'):
        text = (
            '{"author": {"address": "+15551230001", "channel": "VOICE"}, "recipients": [{"address": "+15557650000",'
            f' "channel": "VOICE"}}], "content": {{"type": "TRANSCRIPTION",'
            f' "text": "x", "transcription": {{{free}}}}}}}'
        )
        assert (await send(sandbox, "POST", path, text)).status == 400, free
    await readable(sandbox, path)


@pytest.mark.parametrize("transcription", [{"confidence": 1.5}, {"confidence": -0.1}, {"channel": 2}, {"channel": -1}])
async def test_a_transcription_has_ranges(sandbox, transcription):
    """The confidence of a transcription is from 0 to 1, its channel 0 or 1."""
    made = await sandbox.open()
    path = f"/v2/Conversations/{made['id']}/Communications"
    content = {"type": "TRANSCRIPTION", "text": "x", "transcription": transcription}
    assert (await sandbox.post(path, make_communication(content=content))).status == 400
    whole = {"channel": 1, "confidence": 0.5, "engine": "deepgram", "words": [{"text": "x"}], "other": {"kept": 1}}
    content = {"type": "TRANSCRIPTION", "text": "x", "transcription": whole}
    assert (await sandbox.post(path, make_communication(content=content))).body["content"]["transcription"] == whole


@pytest.mark.parametrize("time", ["now", "9999-12-31T23:59:59-12:00"])
async def test_the_time_of_a_communication_is_a_time(sandbox, time):
    """`occurredAt` is ISO 8601."""
    made = await sandbox.open()
    answer = await sandbox.post(f"/v2/Conversations/{made['id']}/Communications", make_communication(occurredAt=time))
    assert answer.status == 400


@pytest.mark.parametrize("number", [*LARGE, "0", "-1", "2147483648"])
@pytest.mark.parametrize("name", ["inactive", "closed"])
async def test_timeouts(sandbox, name, number):
    """Timeouts are minutes of 31 bits, for a configuration and inline; both stay readable."""
    settings = f'{{"SMS": {{"statusTimeouts": {{"{name}": {number}}}}}}}'
    change = await send(sandbox, "PATCH", f"/sandbox/configurations/{BY_CHANNEL}", f'{{"channelSettings": {settings}}}')
    made = await send(
        sandbox,
        "POST",
        "/v2/Conversations",
        f'{{"configurationId": "{BY_CHANNEL}", "configuration": {{"channelSettings": {settings}}}}}',
    )
    assert (change.status, made.status) == (400, 400)
    await readable(sandbox, CONFIGURATION, "/v2/ControlPlane/Configurations", "/v2/Conversations")


@pytest.mark.parametrize("number", LARGE)
async def test_free_settings_of_a_channel(sandbox, number):
    """No number in an unknown setting of a channel breaks the configuration."""
    text = f'{{"channelSettings": {{"SMS": {{"other": [{number}]}}}}}}'
    assert (await send(sandbox, "PATCH", f"/sandbox/configurations/{BY_CHANNEL}", text)).status == 400
    await readable(sandbox, CONFIGURATION)


@pytest.mark.parametrize("number", [*LARGE, "1e400", "-1"])
async def test_the_clock(sandbox, number):
    """Time passes only as far as it can be written."""
    await sandbox.open(make_participant("CUSTOMER", "+15551230001"))
    assert (await send(sandbox, "POST", "/sandbox/clock", f'{{"advanceSeconds": {number}}}')).status == 400
    for _ in range(3):  # no sum of steps goes further either
        await sandbox.post("/sandbox/clock", {"advanceSeconds": 200_000_000_000})
    await readable(sandbox, "/v2/Conversations", "/v1/Conversations")
    assert (await sandbox.post("/v2/Conversations", {"configurationId": BY_CHANNEL})).status == 201


NUMERIC = [
    "actionDelaySeconds",
    "listPageLimit",
    "rateLimitPerSecond",
    "operationSeconds",
    "callbackDuplicates",
    "callbackDelaySeconds",
    "callbackDropFraction",
    "callbackRetries",
    "callbackBackoffSeconds",
    "callbackTimeoutSeconds",
    "classicWebhookTimeoutSeconds",
    "keepClosed",
    "keepCommunications",
]


async def test_every_numeric_switch_is_listed_here(sandbox):
    """A new numeric switch has to be added to the test below."""
    switches = (await sandbox.get("/sandbox/options")).body
    numeric = {name for name, value in switches.items() if type(value) in {int, float}}
    assert numeric - {"fractionDigits", "closedStatus", "validationStatus", "formStatus", "classicLookupPageSize"} == (
        set(NUMERIC)
    )


@pytest.mark.parametrize("number", [*LARGE, "1e400", "-1"])
@pytest.mark.parametrize("name", NUMERIC)
async def test_switches(sandbox, name, number):
    """A switch has a range, so that the switches stay readable."""
    assert (await send(sandbox, "PATCH", "/sandbox/options", f'{{"{name}": {number}}}')).status == 400
    await readable(sandbox, "/sandbox/options")


@pytest.mark.parametrize("number", [*LARGE, "1e400", "-1"])
@pytest.mark.parametrize("name", ["status", "retryAfter", "latencySeconds", "times", "probability"])
async def test_faults(sandbox, name, number):
    """The numbers of a fault have a range, so that the faults stay readable."""
    assert (await send(sandbox, "POST", "/sandbox/faults", f'{{"{name}": {number}}}')).status == 400
    await readable(sandbox, "/sandbox/faults", "/v2/Conversations")
