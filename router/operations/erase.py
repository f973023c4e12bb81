"""Erasing a customer: what is kept under an address is found and removed, everywhere and beside running workers.

Claims of idempotency keys and markers of participants stay, without address: a webhook that is repeated afterwards is a
duplicate, and nobody is announced twice. What waits to be processed is removed too. A worker that has an event of the
customer in hand at this moment may write once more: the search is repeated until it finds nothing, a few times at most.
Redis' own files, replicas and backups, Twilio's records and copies that consumers made are not reached from here.
"""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final

from router.agents.effects import TEXT_STEPS
from router.core.addresses import PHONE_CHANNELS, Address, Channel, from_key
from router.core.erasing import ErasedCustomer, ErasedPlace, ErasureReport
from router.core.errors import QueryError
from router.core.formats import OtherFormatError
from router.core.ledger.erasing import erase_from, participants_of
from router.core.stories import address_forms, digest_address, name_of_conversation
from router.operations.erase_spool import count_empty_spools, erase_spool
from router.operations.sealing import find_unopened
from router.process.stories import make_story_index
from router.streams.client.scripts import load_script
from router.streams.store import erasing
from router.streams.store.dead_letters import drop, list_letters
from router.streams.store.inspect import consumed_streams, list_groups
from router.streams.store.ledgers import Store
from router.streams.store.quarantine import list_kept, remove
from router.streams.store.shared_bodies import SHARED
from router.streams.store.story_index import StoryReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from router.core.ledger.ledger import Ledger
    from router.settings.model import Settings
    from router.streams.client.connection import Redis

#: Searches at most: each finds what was written while the one before ran.
PASSES: Final = 4
#: Attempts to change a ledger that workers change at the same time.
_RACES: Final = 20
#: Letters that are removed at once.
_STEP: Final = 100


class Erasure:
    """One run; `say` gets a line about the progress now and then."""

    def __init__(
        self,
        redis: Redis,
        settings: Settings,
        customer: ErasedCustomer,
        *,
        is_dry_run: bool,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._redis = redis
        self._settings = settings
        self._keys = settings.keys
        self._sealer = settings.sealer
        self._customer = customer
        self._say = say
        self._report = ErasureReport(is_dry_run)
        self._store = Store(redis, settings.keys, marker_ttl=settings.marker_ttl, sealer=settings.sealer)

    async def run(self) -> ErasureReport:
        """Search and erase until a search finds nothing more. Raises RedisError; what was done until then is done.

        Raises QueryError for an address of our side.
        """
        await self._refuse_own()
        unopened = await find_unopened(self._redis, self._keys, self._sealer)
        sealed = [f"{one} is searched without what is sealed in it: {problem}" for one, problem in unopened.items()]
        for _ in range(PASSES):
            before, keys = self._report.found, self._customer.keys
            self._report.unfinished = list(sealed)  # what another search left, this one looks at again
            await self._learn_persons()
            await self._pass()
            if self._is_dry and keys != self._customer.keys:  # search again, with all addresses of the customer
                self._report.places.clear()
            elif self._is_dry or self._report.found == before:
                return self._report.end()
        self._report.unfinished.append("events of this customer keep arriving: erase again once they are processed")
        return self._report.end()

    @property
    def _accounts(self) -> list[str]:
        return sorted({one.sid for one in self._settings.accounts} | {one for one, _ in self._customer.conversations})

    async def _refuse_own(self) -> None:
        """Raise QueryError if the address is our side's: everything that customers wrote mentions it."""
        for key in sorted(self._customer.keys):
            if account_id := await self._owner_of(key):
                raise QueryError(f"{from_key(key).value} is an address of our side ({account_id}), not a customer's")

    async def _owner_of(self, key: str) -> str:
        """Return the account whose own address has this key, empty if none; a number is ours on all of its channels."""
        channel, _, word = key.partition("|")
        names = [f"{one}|{word}" for one in PHONE_CHANNELS] if channel in PHONE_CHANNELS else [key]
        for account_id in self._accounts:
            for name in names:
                if await self._redis.zscore(self._keys.own_addresses(account_id), name) is not None:
                    return account_id
        return ""

    async def _learn(self, keys: Iterable[str]) -> None:
        """Take further addresses for the customer's, without those of our side, which an error may have put there."""
        more = set[str]()
        for key in sorted({*keys} - self._customer.keys):
            if account_id := await self._owner_of(key):
                self._report.note(f"{from_key(key).value} is left out: an address of our side ({account_id})")
            else:
                more.add(key)
        self._customer = self._customer.also(more)

    async def _learn_persons(self) -> None:
        """Learn the ids and phones that are known to be of the same WhatsApp user."""
        for account_id in self._accounts:
            for key in sorted(self._customer.keys):
                known: Any = await self._redis.get(self._keys.person(account_id, key))
                words = known.decode().split() if known else ()
                await self._learn(Address(Channel.WHATSAPP, word).key for word in words)

    async def _pass(self) -> None:
        """Search everywhere once; what the search learns from, ledgers and persons, goes last.

        So a run that was interrupted is repeated with what it knew.
        """
        found = await erasing.find_keys(
            self._redis, self._keys, self._customer, lambda seen: self._say(f"{seen} keys searched")
        )
        ledgers = await self._read_ledgers(found.ledgers)
        partitions = range(self._keys.partitions)
        shared = [
            await erasing.find_shared(self._redis, self._keys, one, self._customer, self._sealer) for one in partitions
        ]
        self._count("shared bodies", bodies := sum(map(len, shared)), bodies)
        for partition in partitions:
            for stream in consumed_streams(self._keys, partition):
                await self._erase_stream(partition, stream, shared[partition])
        await self._erase_letters(shared)
        for partition in partitions if not self._is_dry else ():
            await erasing.delete_shared(self._redis, self._keys, partition, shared[partition])
        await self._erase_quarantine()
        await self._erase_stories()
        await self._erase_spool()
        await self._erase_desk(ledgers)
        for name in found.calls:
            if not self._is_dry:
                await erasing.forget_call(self._redis, name)
            self._count("calls", 1, 1)
        for ledger in ledgers:
            await self._erase_ledger(ledger)
        for where, names in (
            ("routes", found.routes),
            ("latest entries by subject", found.latest),
            ("persons", found.persons),
        ):
            self._count(where, len(names), 0 if self._is_dry else await erasing.delete_keys(self._redis, names))

    async def _erase_spool(self) -> None:
        empty = await count_empty_spools(self._redis, self._keys)
        spool = erase_spool(self._settings, self._customer, is_dry_run=self._is_dry, empty=empty)
        self._count("spool", spool.found, spool.erased)
        self._report.unfinished += spool.unfinished

    @property
    def _is_dry(self) -> bool:
        return self._report.is_dry_run

    def _count(self, where: str, found: int, erased: int) -> None:
        place = self._report.places.setdefault(where, ErasedPlace(where))
        place.found += found
        place.erased += 0 if self._is_dry else erased

    async def _read_ledgers(self, names: list[tuple[str, str]]) -> list[Ledger]:
        """Read ledgers, and learn from them which participants and conversations are the customer's."""
        ledgers, ids, keys = [], set(self._customer.ids), set[str]()
        conversations = set(self._customer.conversations)
        for account_id, conversation_id in dict.fromkeys(names):
            try:
                ledger = await self._store.read_whole(account_id, conversation_id)
                own = participants_of(ledger, self._customer)
            except OtherFormatError as error:
                self._report.unfinished.append(f"the ledger of {conversation_id} stays: {error}")
                continue
            if own.is_only:
                conversations.add((account_id, conversation_id))
            if own.ids and not ledger.is_closed:
                self._report.note(f"{conversation_id} is open: the customer's next message in it is kept again")
            ids |= own.ids
            keys |= own.keys
            ledgers.append(ledger)
        self._customer = ErasedCustomer(self._customer.keys, frozenset(ids), frozenset(conversations))
        await self._learn(keys)
        return ledgers

    async def _erase_stream(self, partition: int, stream: str, shared: set[bytes]) -> None:
        """Erase entries; adds the names of the bodies that they share."""
        where = stream.partition("}:")[2]
        entries = erasing.find_entries(
            self._redis, stream, self._customer, self._sealer, shared, self._progress(stream)
        )
        found = [one async for one in entries]
        if not found:
            self._count(where, 0, 0)
            return
        shared |= {one.shared for one in found if one.shared}
        ids = [one.entry_id for one in found]
        if unfinished := await erasing.count_unfinished(self._redis, stream, ids):
            self._report.note(f"{where}: {unfinished} not processed yet, and never will be")
        erased = 0
        if not self._is_dry:
            groups = await list_groups(self._redis, stream)
            documents = {one.document_id for one in found if one.document_id}
            effects = [self._keys.effect(partition, group, one) for group in groups for one in sorted(documents)]
            self._count("effects", blanked := await erasing.blank_effects(self._redis, effects, TEXT_STEPS), blanked)
            await erasing.drop_from_parked(self._redis, self._keys, stream, frozenset(ids))
            erased = await erasing.delete_entries(self._redis, stream, ids)
        self._count(where, len(ids), erased)

    def _progress(self, stream: str) -> Callable[[int], None]:
        return lambda seen: self._say(f"{stream}: {seen} entries searched")

    async def _erase_letters(self, shared: list[set[bytes]]) -> None:
        """Erase dead letters; adds the names of the bodies that they share, by partition."""
        found = []
        async for letter in list_letters(self._redis, self._keys):
            bodies = shared[letter.partition]
            if erasing.is_of(letter.fields, self._customer, self._sealer, bodies) or self._customer.is_in(
                letter.reason.encode()
            ):
                bodies |= {letter.fields[SHARED]} if SHARED in letter.fields else set()
                found.append(letter)
        for first in range(0, len(found), _STEP):
            part = found[first : first + _STEP]
            if not self._is_dry:
                names = [self._keys.effect(one.partition, one.group, _document_id(one.fields)) for one in part]
                await erasing.blank_effects(self._redis, names, TEXT_STEPS)
                await drop(self._redis, self._keys, part)
        self._count("dead-letters", len(found), len(found))

    async def _erase_quarantine(self) -> None:
        async for kept in list_kept(self._redis, self._keys, sealer=self._sealer):
            refused = kept.refused
            if kept.problem:
                self._report.unfinished.append(f"refused webhook {kept.entry_id} cannot be searched: {kept.problem}")
                continue
            texts = [refused.raw_path, refused.body, refused.detail.encode(), str(refused.headers).encode()]
            if any(map(self._customer.is_in, texts)):
                self._count("quarantine", 1, 0 if self._is_dry else await remove(self._redis, self._keys, kept))

    async def _erase_ledger(self, ledger: Ledger) -> None:
        for _ in range(_RACES):
            erase_from(ledger, self._customer)
            if not ledger.has_news:
                return
            if self._is_dry or (await self._store.commit([ledger]))[0]:
                self._count("ledgers", 1, 1)
                return
            ledger = await self._store.read_whole(ledger.account_id, ledger.conversation_id)
        self._report.unfinished.append(f"the ledger of {ledger.conversation_id} keeps changing: erase again")

    async def _erase_desk(self, ledgers: list[Ledger]) -> None:
        """Forget who held a conversation of the customer last; its keys are digests of account and address."""
        accounts = {*self._accounts, *(ledger.account_id for ledger in ledgers)}
        names = [
            self._keys.desk(f"last:{sha1(f'{account} {word}'.encode(), usedforsecurity=False).hexdigest()}")
            for account in sorted(accounts)
            for word in self._customer.words
        ]
        there = sum([await self._redis.exists(name) for name in names])
        self._count("last agents", there, 0 if self._is_dry else await erasing.delete_keys(self._redis, names))

    async def _erase_stories(self) -> None:
        """Erase the stories of the customer's conversations and events, and what leads from the address to others.

        Nobody knows any more whose a conversation without a ledger was: its stories go too.
        """
        now: Any = await load_script("time").run(self._redis, [self._keys.inbound(0)], [])
        digests = [digest_address(secret, word) for secret in self._settings.story_secrets for word in self._forms]
        index = make_story_index(self._settings, self._redis)
        reader = StoryReader(self._redis, index, life=self._settings.story_ttl)
        _, _, others = await reader.erase(now=now, lists=(), digests=digests, is_dry_run=True)
        there = {one: await self._redis.exists(self._keys.conversation(*one)) for one in others}
        own = self._customer.conversations | {one for one, has_ledger in there.items() if not has_ledger}
        lists, pointers, _ = await reader.erase(
            now=now,
            lists=[name_of_conversation(*conversation) for conversation in sorted(own)],
            digests=digests,
            is_dry_run=self._is_dry,
        )
        self._count("stories", lists, lists)
        self._count("pointers to stories", pointers, pointers)

    @property
    def _forms(self) -> list[str]:
        return list(dict.fromkeys(form for word in self._customer.words for form in address_forms(word)))


def _document_id(fields: dict[bytes, bytes]) -> str:
    return fields.get(b"id", b"").decode("utf-8", "replace")
