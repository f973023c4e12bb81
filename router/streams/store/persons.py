"""Customers who are seen at several addresses: a WhatsApp user's phone and ids.

The record of an id is the address of the participant through which its conversations are found (the lead): the phone,
or the id itself if the user wrote without a phone first. The record of a phone is the ids that were told with it last,
so that an id whose phone has changed hands leads there no more. The lead is claimed before the API is asked: of two
workers that resolve messages of one user at once, both ask for the same address. While a route leads to the
conversation, its ledger has the aliases, and no record is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from router.core.addresses import Address, Channel, is_phone

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.core.keys import Keys
    from router.streams.client.connection import Redis


class PersonStore:
    """The records of one namespace; `life` is in seconds."""

    def __init__(self, redis: Redis, keys: Keys, life: int) -> None:
        self._redis = redis
        self._keys = keys
        self._life = life

    async def find_lead(self, account_id: str, customer: Address, *aliases: Address) -> Address | None:
        """Return the address at which a customer's conversations are found, if not at `customer`, who wrote.

        If none is recorded, `customer` becomes the lead. A phone that the message tells is newer than a recorded one,
        except that a phone alone leads where the ids lead that were told with it.
        """
        ids = [one for one in (customer, *aliases) if not is_phone(one)]
        if not ids:
            return await self._find_by_phone(account_id, customer)
        leads = await self._claim(account_id, ids, customer)
        if all(lead.key == customer.key for lead in leads):
            return None
        lead = next(lead for lead in leads if lead.key != customer.key)
        if not is_phone(lead):
            return lead
        if is_phone(customer):
            return None
        return lead if await self._belongs(account_id, lead, ids) else None

    async def _find_by_phone(self, account_id: str, phone: Address) -> Address | None:
        """Return the lead of the ids that were told with a phone, if it is another address."""
        (told,) = await self._read(account_id, [phone])
        ids = [Address(Channel.WHATSAPP, f"whatsapp:{one}") for one in (told or "").split()]
        found = await self._read(account_id, ids) if ids else []
        leads = (Address(Channel.WHATSAPP, value) for value in found if value)
        lead = next((one for one in leads if one.key != phone.key), None)
        if lead is None or not is_phone(lead):
            return lead
        return lead if await self._belongs(account_id, lead, ids) else None

    async def _belongs(self, account_id: str, phone: Address, ids: Iterable[Address]) -> bool:
        """Return whether one of these ids was told with a phone last."""
        (told,) = await self._read(account_id, [phone])
        return bool({one.canonical for one in ids}.intersection((told or "").split()))

    async def write(self, account_id: str, lead: Address, *known_at: Address) -> None:
        """Record all addresses of a customer; `lead` is that of the participant."""
        ids = {one.key: one for one in known_at if not is_phone(one)}
        values = dict.fromkeys(ids, lead.value)
        told = _spell(ids.values())
        values |= {one.key: told for one in known_at if is_phone(one)}
        pipeline = self._redis.pipeline(transaction=False)
        for key, text in values.items():
            pipeline.set(self._keys.person(account_id, key), text, ex=self._life)
        await pipeline.execute()

    async def _claim(self, account_id: str, ids: Sequence[Address], lead: Address) -> list[Address]:
        """Return the lead of each id; `lead` becomes that of an id without one.

        The record of a phone is written first: an id that leads to it must be found there.
        """
        if is_phone(lead):
            await self._redis.set(self._keys.person(account_id, lead.key), _spell(ids), ex=self._life)
        pipeline = self._redis.pipeline(transaction=False)
        for address in ids:
            key = self._keys.person(account_id, address.key)
            pipeline.set(key, lead.value, ex=self._life, nx=True)
            pipeline.get(key)
        rows: list[Any] = await pipeline.execute()
        return [Address(Channel.WHATSAPP, row.decode()) if row else lead for row in rows[1::2]]

    async def _read(self, account_id: str, addresses: Sequence[Address]) -> list[str | None]:
        pipeline = self._redis.pipeline(transaction=False)
        for address in addresses:
            pipeline.get(self._keys.person(account_id, address.key))
        rows: list[Any] = await pipeline.execute()
        return [row.decode() if row else None for row in rows]


def _spell(ids: Iterable[Address]) -> str:
    """Return the record of a phone; ids have no blanks."""
    return " ".join(one.canonical for one in ids)
