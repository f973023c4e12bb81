"""What the worker remembers of an account, and when it reads it again."""

import pytest

from router.core.addresses import Address
from router.worker.account_cache import LIFE, NOTED, AccountCache

US, THEM = "AC1", "AC2"
DESK = Address("SMS", "+15557650000")
OTHER = Address("SMS", "+15557650009")


class FakeStore:
    """Remembers in a dict what Redis would, and counts the reads."""

    def __init__(self):
        self.own, self.seen_at, self.reads, self.now = {}, {}, [], 1_000_000_000

    async def read_account(self, account_id):
        self.reads.append(account_id)
        return dict(self.own.get(account_id, {})), self.seen_at.get(account_id, 0)

    async def add_own_addresses(self, account_id, addresses):
        self.own.setdefault(account_id, {}).update((address.key, self.now // 1000) for address in addresses)

    async def write_callback_time(self, account_id, seen_at):
        self.seen_at[account_id] = seen_at


class World:
    def __init__(self):
        self.now = 1_000_000_000
        self.store = FakeStore()
        self.accounts = self.another()

    def another(self):
        return AccountCache(self.store, always_own=frozenset({OTHER.key}), clock=lambda: self.now)


@pytest.fixture
def world():
    return World()


async def test_read_once_within_its_life(world):
    """An account is read at first use, and again after LIFE."""
    await world.accounts.know([US, US])
    world.now += LIFE - 1
    await world.accounts.know([US])
    assert world.store.reads == [US]
    world.now += 1
    await world.accounts.know([US])
    assert world.store.reads == [US, US]


async def test_read_at_once_where_it_must_be_fresh(world):
    """What another process has noted a moment ago is seen where that matters."""
    await world.accounts.know([US])
    await world.store.add_own_addresses(US, [DESK])
    assert DESK.key not in world.accounts.state(US).own
    await world.accounts.know([US], is_fresh=True)
    assert DESK.key in world.accounts.state(US).own


async def test_own_addresses_are_of_one_account(world):
    """What is ours in one account is a stranger's in another; what is always ours is so everywhere."""
    await world.accounts.know([US, THEM])
    await world.accounts.add_own(US, DESK)
    assert world.accounts.state(US).own == {DESK.key, OTHER.key}
    assert world.accounts.state(THEM).own == world.accounts.state("unknown").own == {OTHER.key}


async def test_captured_addresses_are_of_one_account(world):
    """What one account's configuration captures may be a customer of another."""
    accounts = AccountCache(
        world.store, always_own=frozenset({OTHER.key}), captured={US: frozenset({DESK.key})}, clock=lambda: world.now
    )
    assert accounts.state(US).own == {DESK.key, OTHER.key}
    await accounts.know([US, THEM])
    assert accounts.state(US).own == {DESK.key, OTHER.key}
    assert accounts.state(THEM).own == {OTHER.key}


async def test_own_address_is_written_once(world):
    """An address that is known to be ours costs nothing more."""
    await world.accounts.know([US])
    await world.accounts.add_own(US, DESK)
    world.store.own.clear()
    await world.accounts.add_own(US, DESK)
    assert world.store.own == {}


async def test_own_address_that_is_in_use_stays_among_the_newest(world):
    """Only so many are kept, so one that is used is noted again, now and then and by whoever knows it."""
    await world.accounts.know([US])
    await world.accounts.add_own(US, DESK)
    for accounts in (world.accounts, world.another()):
        world.now += (NOTED + 1) * 1000
        world.store.now = world.now
        await accounts.know([US])
        await accounts.add_own(US, DESK)
        assert world.store.own[US][DESK.key] == world.now // 1000


async def test_callback_time_is_shared_sparingly(world):
    """That callbacks arrive is written at most every LIFE, and read by others."""
    await world.accounts.know([US])
    world.accounts.note_callback(US)
    await world.accounts.share_callbacks()
    first = world.store.seen_at[US]
    world.now += LIFE // 2
    world.accounts.note_callback(US)
    await world.accounts.share_callbacks()
    assert world.store.seen_at[US] == first
    assert world.accounts.state(US).callbacks_seen_at == world.now
    other = world.another()
    await other.know([US])
    assert other.state(US).callbacks_seen_at == first


async def test_newer_callback_time_survives_reading(world):
    """Reading an account again never makes the last callback older."""
    await world.accounts.know([US])
    world.accounts.note_callback(US)
    told = world.accounts.state(US).callbacks_seen_at
    world.now += LIFE
    await world.accounts.know([US])
    assert world.accounts.state(US).callbacks_seen_at == told
