"""Erasing a customer: unfinished and parked events, the spool, mails to many, other customers, our own addresses."""

from __future__ import annotations

import json
import socket
import time

import pytest
from redis.exceptions import RedisError

from router.core.addresses import Address
from router.core.aes_gcm import make_sealer
from router.core.erasing import read_customer
from router.core.errors import QueryError
from router.core.events import share
from router.core.formats import FORMAT
from router.core.keys import RESOLVER
from router.core.refused import Bounds
from router.core.stories import DAY, event_id, name_of_conversation
from router.operations.erase import Erasure
from router.receiver.spool.journal import Journal
from router.streams.consuming.groups import ensure_group
from router.streams.store.announcements import announce
from router.streams.store.append import Appender, InboundFields
from router.streams.store.calls import CallStore
from router.streams.store.ledgers import Store
from router.streams.store.parking import count_parked
from router.streams.store.persons import PersonStore
from router.streams.store.quarantine import keep
from router.streams.store.stories import StoryAbout, StoryWriter
from router.streams.store.story_index import StoryBounds, StoryIndex
from tests.core.builders import CONVERSATION, make_fact, make_participant
from tests.core.test_refused import REFUSED
from tests.operations.conftest import SUBJECT
from tests.support.accounts import ACCOUNT, CUSTOMER, OURS
from tests.support.contents import read_all

OTHER = "+15551239999"
OTHERS = f"SMS|{OTHER}|{OURS}"
LIFE = 90 * 86_400
DIGITS = CUSTOMER.removeprefix("+").encode()


@pytest.fixture
def erase(deployment):
    """Return a function that erases the customer, and returns the report."""

    async def erase(text=CUSTOMER, *, is_dry_run=False, say=lambda _: None):
        customer = read_customer(text)
        return await Erasure(deployment.redis, deployment.settings, customer, is_dry_run=is_dry_run, say=say).run()

    return erase


def found_in(report):
    return {place.where: (place.found, place.erased) for place in report.places.values() if place.found}


async def test_events_that_wait_are_erased_and_said_to_be_unprocessed(deployment, erase):
    """Those of others wait on, in their order."""
    await deployment.park("k1", "k2")
    await deployment.park("k3", subject=OTHERS)
    assert await count_parked(deployment.redis, deployment.keys, deployment.inbound, RESOLVER) == 3
    await deployment.redis.xadd(deployment.inbound, deployment.webhook("k4"))
    dry = await erase(is_dry_run=True)
    assert (found_in(dry), dry.is_done) == ({"inbound": (3, 0)}, True)
    report = await erase()
    assert found_in(report) == {"inbound": (3, 3)}
    assert any("not processed yet" in note for note in report.notes)
    assert await count_parked(deployment.redis, deployment.keys, deployment.inbound, RESOLVER) == 1
    assert not [name for name, content in (await read_all(deployment.redis)).items() if DIGITS in content]
    again = await erase()
    assert (again.found, again.is_done) == (0, True)


async def test_what_is_erased_is_pending_in_no_group(deployment, erase):
    """A client that reads its pending entries would get an id without fields, with which not every one can go on."""
    redis, stream = deployment.redis, deployment.inbound
    for group in (RESOLVER, "archive"):
        await ensure_group(redis, stream, group)
    await redis.xadd(stream, deployment.webhook("k1"))
    await redis.xadd(stream, deployment.webhook("k2", subject=OTHERS))
    for group in (RESOLVER, "archive"):
        await redis.xreadgroup(group, "me", {stream: ">"})
    await erase()
    assert [(await redis.xpending(stream, group))["pending"] for group in (RESOLVER, "archive")] == [1, 1]


async def test_progress_is_told(deployment, erase):
    """Keys and entries that were searched."""
    for number in range(250):
        await deployment.redis.xadd(deployment.inbound, deployment.webhook(f"k{number}", subject=OTHERS))
    told = []
    await erase(say=told.append)
    assert f"{deployment.inbound}: 200 entries searched" in told
    assert any("keys searched" in line for line in told)


async def test_claims_stay(deployment, erase):
    """A webhook that is repeated after the erasure is a duplicate; so is another report of the same message."""
    appender = Appender(deployment.redis, deployment.keys)
    fields = InboundFields("messaging", ACCOUNT, "key", SUBJECT, 1, b"Body=hi", 600, aliases=("alias",))
    assert await appender.append(fields)
    await erase()
    assert await deployment.redis.xlen(deployment.inbound) == 0
    assert not await appender.append(fields)
    assert not await appender.append(InboundFields("x", ACCOUNT, "alias", SUBJECT, 1, b"Body=hi", 600))
    assert await appender.append(InboundFields("messaging", ACCOUNT, "new", SUBJECT, 1, b"Body=hi", 600))


async def test_a_mail_to_many_goes_with_its_shared_body(deployment, erase):
    """The body is stored once beside the entries."""
    appender, body = Appender(deployment.redis, deployment.keys), share(b'{"text": "my secret"}')
    for number in range(2):
        subject = f"EMAIL|ana@example.com|box{number}@example.com"
        mail = InboundFields("email", ACCOUNT, f"key{number}", subject, 1, b"{}", 600, shared=body)
        assert await appender.append(mail)
    assert found_in(await erase("Ana@Example.com"))["inbound"] == (2, 2)
    assert not any(b"my secret" in content for content in (await read_all(deployment.redis)).values())


async def test_events_on_disk_are_erased(deployment, tmp_path):
    """Of a dead receiver; those of others stay, and a file that a receiver holds is named."""
    settings = deployment.settings.model_copy(update={"spool_dir": str(tmp_path)})

    async def erase(*, is_dry_run=False):
        return await Erasure(deployment.redis, settings, read_customer(CUSTOMER), is_dry_run=is_dry_run).run()

    journal = Journal(tmp_path / "router@1-1.sqlite")
    journal.add(
        InboundFields("messaging", ACCOUNT, f"k{number}", subject, 1, b"Body=hi", 600)
        for number, subject in enumerate((SUBJECT, OTHERS))
    )
    held = await erase()
    assert any("router@1-1.sqlite is held by a receiver" in note for note in held.notes)
    assert not held.is_done
    journal.close()
    assert found_in(await erase(is_dry_run=True)) == {"spool": (1, 0)}
    assert found_in(await erase()) == {"spool": (1, 1)}
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert OTHER.encode() in content
    assert CUSTOMER.encode() not in content
    left = Journal(tmp_path / "router@1-1.sqlite")
    assert [row.fields.subject for row in left.read(0, 10)] == [OTHERS]
    left.remove([2])
    left.close()


async def test_a_dead_letter_goes_with_its_shared_body(deployment, erase):
    """The letter refers to the body, which nothing else does any more."""
    appender, body = Appender(deployment.redis, deployment.keys), share(b'{"text": "my secret"}')
    subject = "EMAIL|ana@example.com|box@example.com"
    assert await appender.append(InboundFields("email", ACCOUNT, "key", subject, 1, b"{}", 600, shared=body))
    ((entry_id, fields),) = await deployment.redis.xrange(deployment.inbound)
    await deployment.bury({name.decode(): value for name, value in fields.items()}, entry=entry_id.decode())
    await deployment.redis.xdel(deployment.inbound, entry_id)
    assert found_in(await erase("ana@example.com"))["dead-letters"] == (1, 1)
    assert not any(b"my secret" in content for content in (await read_all(deployment.redis)).values())


@pytest.mark.parametrize("is_dead", [False, True])
async def test_a_mail_of_somebody_else_that_names_the_customer_is_erased(deployment, erase, is_dead):
    """What it says stands in the shared body only; the mail of another one stays."""
    appender = Appender(deployment.redis, deployment.keys)
    for number, text in enumerate((f"call {CUSTOMER} back", f"call {OTHER} back")):
        for box in range(2):
            subject = f"EMAIL|ben@example.com|box{box}@example.com"
            key, body = f"key{number}{box}", share(text.encode())
            assert await appender.append(InboundFields("email", ACCOUNT, key, subject, 1, b"{}", 600, shared=body))
    entry_id, fields = (await deployment.redis.xrange(deployment.inbound))[0]
    if is_dead:
        await deployment.bury({name.decode(): value for name, value in fields.items()}, entry=entry_id.decode())
    dry = found_in(await erase(is_dry_run=True))
    erased = found_in(await erase())
    assert erased == {"inbound": (2, 2), "shared bodies": (1, 1)} | ({"dead-letters": (1, 1)} if is_dead else {})
    assert {where: found for where, (found, _) in dry.items()} == {where: found for where, (found, _) in erased.items()}
    assert await deployment.redis.xlen(deployment.inbound) == 2
    everything = b"".join((await read_all(deployment.redis)).values())
    assert DIGITS not in everything
    assert OTHER.encode() in everything


@pytest.mark.parametrize(
    ("host", "spools", "is_done"),
    [
        ("", [{"status": "ok", "entries": 0}, {"status": "ok", "entries": 0}], True),
        ("", [{"status": "ok", "entries": 0}, {"status": "ok", "entries": 2}], False),
        ("", [{"status": "off"}], False),
        ("", ["x"], False),
        ("another", [{"status": "ok", "entries": 0}], False),
    ],
)
async def test_a_spool_that_is_held_and_empty_leaves_nothing_to_erase(deployment, tmp_path, host, spools, is_done):
    """Receivers on this machine say what waits in their spools; of those that say nothing it is unknown."""
    settings = deployment.settings.model_copy(update={"spool_dir": str(tmp_path)})
    journal = Journal(tmp_path / "router@1-1.sqlite")
    for number, spool in enumerate(spools):
        record = {"kind": "web", "host": host or socket.gethostname(), "pid": number, "facts": {"spool": spool}}
        await announce(deployment.redis, deployment.keys, f"web/{number}", json.dumps(record).encode())
    report = await Erasure(deployment.redis, settings, read_customer(CUSTOMER), is_dry_run=False).run()
    journal.close()
    assert (report.is_done, len(report.notes)) == (is_done, int(not is_done))


async def test_a_receiver_that_has_said_nothing_lately_may_have_filled_its_spool(deployment, tmp_path):
    """A Redis without memory takes no new record: what was said before is no word about now. Nor is one about two."""
    settings = deployment.settings.model_copy(update={"spool_dir": str(tmp_path)})
    journals = [Journal(tmp_path / f"router@{number}-1.sqlite") for number in (1, 2)]
    record = {"kind": "web", "host": socket.gethostname(), "pid": 1, "facts": {"spool": {"status": "ok", "entries": 0}}}
    await announce(deployment.redis, deployment.keys, "web/1", json.dumps(record).encode())

    async def is_done():
        return (await Erasure(deployment.redis, settings, read_customer(CUSTOMER), is_dry_run=False).run()).is_done

    assert not await is_done()
    journals.pop().close()
    assert await is_done()
    await deployment.redis.zincrby(deployment.keys.processes(), -60_000, "web/1")
    assert not await is_done()
    journals.pop().close()


async def test_a_ledger_of_another_release_is_left_to_be_erased(town, erase):
    """It cannot be read, so the customer is still in it: that is not the end."""
    await town.take_in()
    await town.redis.hset(town.keys.conversation(ACCOUNT, CONVERSATION), FORMAT, "99")
    report = await erase()
    assert not report.is_done
    assert [note for note in report.notes if "stays" in note] == report.unfinished


async def test_a_refused_webhook_that_cannot_be_opened_is_left_to_be_erased(deployment, erase):
    """Its key is missing: nobody knows whose it is."""
    sealer = make_sealer([bytes(32)], lambda: bytes(12))
    await keep(deployment.redis, deployment.keys, REFUSED, Bounds(entries=3, size=10_000, ttl=60), sealer=sealer)
    report = await erase()
    assert (report.found, report.is_done) == (0, False)
    assert any("cannot be searched" in note for note in report.notes)


@pytest.mark.parametrize(("losses", "is_done"), [(20, True), (10_000, False)])
async def test_a_ledger_that_keeps_changing_is_left_to_be_erased(town, erase, monkeypatch, losses, is_done):
    """After so many lost commits it is left to the next search, and at last to the next run."""
    await town.take_in()
    commit, left = Store.commit, losses

    async def lose(self, ledgers):
        nonlocal left
        left -= 1
        return [False] if left >= 0 else await commit(self, ledgers)

    monkeypatch.setattr(Store, "commit", lose)
    report = await erase()
    assert report.is_done is is_done
    assert any("keeps changing" in note for note in report.notes) is not is_done


async def test_all_addresses_of_a_customer_are_erased(deployment, erase):
    """A WhatsApp user's id is found by the phone, and a caller's call by the number."""
    redis, keys = deployment.redis, deployment.keys
    phone, user = Address("WHATSAPP", f"whatsapp:{CUSTOMER}"), Address("WHATSAPP", "whatsapp:US.12345678")
    await PersonStore(redis, keys, 600).write(ACCOUNT, phone, phone, user)
    await redis.xadd(deployment.inbound, deployment.webhook("k1", subject=f"WHATSAPP|US.12345678|{OURS}"))
    await CallStore(redis, keys).note_participant(
        ACCOUNT, "CA1", CONVERSATION, make_participant("p1", Address("VOICE", CUSTOMER))
    )
    await CallStore(redis, keys).note_end(ACCOUNT, "CA1")
    report = await erase()
    assert found_in(report) == {"inbound": (1, 1), "persons": (2, 2), "calls": (1, 1)}
    assert (await CallStore(redis, keys).read(ACCOUNT, "CA1")).is_over
    everything = b"".join((await read_all(redis)).values())
    assert DIGITS not in everything
    assert b"12345678" not in everything


async def test_a_conversation_that_workers_change_meanwhile_is_erased(deployment, erase, monkeypatch):
    """The commit that loses is made again; nothing of the other commit is lost."""
    store = Store(deployment.redis, deployment.keys, marker_ttl=3600)
    ledger = store.make_ledger(ACCOUNT, CONVERSATION)
    ledger.take_participant(make_fact(make_participant("p1", Address("SMS", CUSTOMER)), 1))
    assert await store.commit([ledger]) == [True]
    commit, races = Store.commit, [1, 1]

    async def commit_late(self, ledgers):
        if races and self is not store:
            races.pop()
            other = await store.read_whole(ACCOUNT, CONVERSATION)
            other.put("told", str(len(races)))
            assert await commit(store, [other]) == [True]
        return await commit(self, ledgers)

    monkeypatch.setattr(Store, "commit", commit_late)
    report = await erase()
    assert found_in(report)["ledgers"] == (1, 1)
    after = await store.read_whole(ACCOUNT, CONVERSATION)
    assert after.fields["told"] == "0"
    assert after.marker("p1").is_announced
    assert CUSTOMER not in str(after.fields)
    assert any("is open" in note for note in report.notes)


async def test_our_own_address_is_refused(deployment, erase):
    """Whatever customers wrote mentions it."""
    await Store(deployment.redis, deployment.keys, marker_ttl=60).add_own_addresses(ACCOUNT, [Address("SMS", OURS)])
    await deployment.redis.xadd(deployment.inbound, deployment.webhook())
    with pytest.raises(QueryError, match="our side"):
        await erase(OURS)
    assert await deployment.redis.xlen(deployment.inbound) == 1


class Town:
    """One conversation of the customer, with its ledger and stories; `ended` is the place at which a run ends."""

    def __init__(self, deployment, monkeypatch):
        self.redis, self.settings, self.keys = deployment.redis, deployment.settings, deployment.keys
        self.inbound, self._patch = deployment.inbound, monkeypatch

    async def take_in(self):
        """Let there be a ledger, an entry that only the ledger shows to be the customer's, persons and a route."""
        store = Store(self.redis, self.keys, marker_ttl=3600)
        ledger = store.make_ledger(ACCOUNT, CONVERSATION)
        ledger.take_participant(make_fact(make_participant("p1", Address("SMS", CUSTOMER)), 1))
        assert await store.commit([ledger]) == [True]
        entry = {"event": f'{{"conversation": "{CONVERSATION}"}}'}
        await self.redis.xadd(self.keys.participants(0, "ai-agent"), entry)
        phone, user = Address("WHATSAPP", f"whatsapp:{CUSTOMER}"), Address("WHATSAPP", "whatsapp:US.12345678")
        await PersonStore(self.redis, self.keys, 600).write(ACCOUNT, phone, phone, user)
        await self.redis.xadd(self.inbound, {"subject": f"WHATSAPP|US.12345678|{OURS}", "body": "x"})
        await self.tell(CONVERSATION)

    async def tell(self, conversation, *, days=0, addresses=(CUSTOMER,)):
        """Write a line of a conversation's story some days ago, and index it."""
        writer = StoryWriter(
            self.redis,
            self.keys,
            life=LIFE,
            secret=self.settings.story_secrets[0],
            process="worker",
            clock=lambda: time.time_ns() // 1000 - days * DAY,
        )
        writer.add_stage(
            0, StoryAbout(event_id("1"), ACCOUNT, "SM1", conversation, addresses=addresses), "waiting", "x"
        )
        await writer.flush()
        await StoryIndex(self.redis, self.keys, StoryBounds(LIFE, 100), StoryBounds(LIFE, 100)).drain()

    async def story_lists(self):
        """Return the keys of lists of stories."""
        return [key async for key in self.redis.scan_iter("*:l*") if key.partition(b":l")[2] != b"ists"]

    def end_at(self, name):
        """Let the next run end when it has done this."""
        original = getattr(Erasure, name)

        async def end(erasure, *arguments):
            await original(erasure, *arguments)
            raise RedisError(f"ended behind {name}")

        self._patch.setattr(Erasure, name, end)


@pytest.fixture
def town(deployment, monkeypatch):
    return Town(deployment, monkeypatch)


@pytest.mark.parametrize(
    "place", ["_erase_letters", "_erase_quarantine", "_erase_stories", "_erase_desk", "_erase_ledger"]
)
async def test_a_run_that_was_interrupted_is_repeated(town, erase, monkeypatch, place):
    """What is known from the ledger and of the person is erased before these are: nothing is left by the next run."""
    await town.take_in()
    with monkeypatch.context() as patch:
        town._patch = patch
        town.end_at(place)
        with pytest.raises(RedisError, match=place):
            await erase()
    assert (await erase()).is_done
    assert await town.story_lists() == []
    for stream in (town.inbound, town.keys.participants(0, "ai-agent")):
        assert await town.redis.xlen(stream) == 0
    everything = b"".join((await read_all(town.redis)).values())
    assert DIGITS not in everything
    assert b"12345678" not in everything


async def test_stories_of_a_conversation_without_a_ledger_are_erased(town, erase):
    """Nobody knows any more who else was in it; of one with other customers only what leads to it goes."""
    await town.tell("conv_gone")
    store = Store(town.redis, town.keys, marker_ttl=3600)
    shared = store.make_ledger(ACCOUNT, CONVERSATION)
    for number, address in enumerate((CUSTOMER, OTHER)):
        shared.take_participant(make_fact(make_participant(f"p{number}", Address("SMS", address)), 1))
    assert await store.commit([shared]) == [True]
    await town.tell(CONVERSATION)
    dry = found_in(await erase(is_dry_run=True))
    report = await erase()
    assert (dry["stories"], report.places["stories"].erased) == ((1, 0), 1)
    assert report.places["pointers to stories"].erased == dry["pointers to stories"][0] == 2
    (left,) = await town.story_lists()
    assert left.endswith(name_of_conversation(ACCOUNT, CONVERSATION).encode())


@pytest.mark.parametrize("life", [0, 86_400])
async def test_stories_that_an_earlier_setting_keeps_are_erased(town, life):
    """The setting may have been lowered: keys stay for what it was when they were written."""
    for days in (0, 7, 40, 90):
        await town.tell("conv_gone", days=days)
    assert len(await town.story_lists()) == 4
    settings = town.settings.model_copy(update={"story_ttl": life})
    assert (await Erasure(town.redis, settings, read_customer(CUSTOMER), is_dry_run=False).run()).is_done
    assert await town.story_lists() == []


@pytest.mark.parametrize("channel", ["SMS", "VOICE"])
async def test_our_own_address_is_not_learned(deployment, erase, channel):
    """A participant or person at an address of ours makes nothing the customer's that mentions it; a note says so."""
    redis, keys = deployment.redis, deployment.keys
    store = Store(redis, keys, marker_ttl=3600)
    await store.add_own_addresses(ACCOUNT, [Address(channel, OURS)])
    ledger = store.make_ledger(ACCOUNT, CONVERSATION)
    participant = make_participant("p1", Address("SMS", CUSTOMER), Address("SMS", OURS))
    ledger.take_participant(make_fact(participant, 1))
    assert await store.commit([ledger]) == [True]
    phone, ours = Address("WHATSAPP", f"whatsapp:{CUSTOMER}"), Address("WHATSAPP", f"whatsapp:{OURS}")
    await PersonStore(redis, keys, 600).write(ACCOUNT, phone, phone, ours)
    await redis.xadd(deployment.inbound, deployment.webhook("k1", subject=OTHERS))
    await redis.xadd(deployment.inbound, deployment.webhook("k2"))
    report = await erase()
    assert report.is_done
    assert found_in(report)["inbound"] == (1, 1)
    assert await redis.xlen(deployment.inbound) == 1
    assert any("is left out: an address of our side" in note for note in report.notes)
