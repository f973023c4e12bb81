"""The cache of account states: when it reads, writes and forgets."""

import pytest

from router.core.addresses import Address
from router.worker.account_cache import LIFE, NOTED, AccountCache

US, THEM = "AC1", "AC2"
DESK = Address("SMS", "+15557650000")
OTHER = Address("SMS", "+15557650009")


class FakeStore:
    """A store in a dict, which counts the reads."""

    def __init__(self):
        self.own, self.seen_at, self.reads, self.now = {}, {}, [], 1_000_000_000

    async def read_account(self, account_id):
        self.reads.append(account_id)
        return dict(self.own.get(account_id, {})), self.seen_at.get(account_id, 0)

    async def add_own_addresses(self, account_id, addresses):
        self.own.setdefault(account_id, {}).update((address.key, self.now // 1000) for address in addresses)

    async def write_callback_time(self, account_id, seen_at):
        self.seen_at[account_id] = seen_at


class Bench:
    def __init__(self):
        self.now = 1_000_000_000
        self.store = FakeStore()
        self.accounts = self.another()

    def another(self):
        return AccountCache(self.store, always_own=frozenset({OTHER.key}), clock=lambda: self.now)


@pytest.fixture
def bench():
    return Bench()


async def test_an_account_is_read_once_per_life(bench):
    """An account is read at first use, and again after LIFE."""
    await bench.accounts.know([US, US])
    bench.now += LIFE - 1
    await bench.accounts.know([US])
    assert bench.store.reads == [US]
    bench.now += 1
    await bench.accounts.know([US])
    assert bench.store.reads == [US, US]


async def test_a_fresh_account_is_read_at_once(bench):
    """With `is_fresh`, an address that another process has just stored is known."""
    await bench.accounts.know([US])
    await bench.store.add_own_addresses(US, [DESK])
    assert DESK.key not in bench.accounts.state(US).own
    await bench.accounts.know([US], is_fresh=True)
    assert DESK.key in bench.accounts.state(US).own


async def test_own_addresses_belong_to_one_account(bench):
    """An address that is ours in one account is not in another, except for those that are always ours."""
    await bench.accounts.know([US, THEM])
    await bench.accounts.add_own(US, DESK)
    assert bench.accounts.state(US).own == {DESK.key, OTHER.key}
    assert bench.accounts.state(THEM).own == bench.accounts.state("unknown").own == {OTHER.key}


async def test_captured_addresses_belong_to_one_account(bench):
    """A captured address is ours only in the account whose configuration captures it."""
    accounts = AccountCache(
        bench.store, always_own=frozenset({OTHER.key}), captured={US: frozenset({DESK.key})}, clock=lambda: bench.now
    )
    assert accounts.state(US).own == {DESK.key, OTHER.key}
    await accounts.know([US, THEM])
    assert accounts.state(US).own == {DESK.key, OTHER.key}
    assert accounts.state(THEM).own == {OTHER.key}


async def test_an_own_address_is_written_once(bench):
    """A known address of ours is not written again."""
    await bench.accounts.know([US])
    await bench.accounts.add_own(US, DESK)
    bench.store.own.clear()
    await bench.accounts.add_own(US, DESK)
    assert bench.store.own == {}


async def test_an_own_address_in_use_is_written_again_later(bench):
    """An address in use is written again after NOTED, by any process, since only the newest are kept."""
    await bench.accounts.know([US])
    await bench.accounts.add_own(US, DESK)
    for accounts in (bench.accounts, bench.another()):
        bench.now += (NOTED + 1) * 1000
        bench.store.now = bench.now
        await accounts.know([US])
        await accounts.add_own(US, DESK)
        assert bench.store.own[US][DESK.key] == bench.now // 1000


async def test_the_time_of_callbacks_is_shared_once_per_life(bench):
    """The time of the last callback is written at most once per LIFE, and read by others."""
    await bench.accounts.know([US])
    bench.accounts.note_callback(US)
    await bench.accounts.share_callbacks()
    first = bench.store.seen_at[US]
    bench.now += LIFE // 2
    bench.accounts.note_callback(US)
    await bench.accounts.share_callbacks()
    assert bench.store.seen_at[US] == first
    assert bench.accounts.state(US).callbacks_seen_at == bench.now
    other = bench.another()
    await other.know([US])
    assert other.state(US).callbacks_seen_at == first


async def test_reading_keeps_the_newer_time_of_callbacks(bench):
    """Reading an account never replaces the time of its last callback by an older one."""
    await bench.accounts.know([US])
    bench.accounts.note_callback(US)
    seen_at = bench.accounts.state(US).callbacks_seen_at
    bench.now += LIFE
    await bench.accounts.know([US])
    assert bench.accounts.state(US).callbacks_seen_at == seen_at
