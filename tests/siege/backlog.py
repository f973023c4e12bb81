"""Very many events, appended straight into the inbound stream by the server itself: signing a million takes minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from router.core.signing.form import parse_form
from router.inbound.messaging import identify
from router.simulator.messages import message
from router.streams.store.append import InboundFields
from tests.benchmarks.filled_stream import fields_of
from tests.support.accounts import ACCOUNT, OURS

if TYPE_CHECKING:
    from router.streams.client.connection import Redis

#: Entries that one run of the script writes: the server must not be blocked for long.
PAGE: Final = 5_000
_SID: Final = "SM" + "f" * 32
_CUSTOMER: Final = "15569999999"
#: Writes entries ARGV[1] to ARGV[2] of ARGV[3] customers in turn, with ids that begin with ARGV[4]: the fields from
#: ARGV[7] on, with MessageSid ARGV[5] and number ARGV[6] replaced, and the name of the customer's entry before.
_FILL: Final = """
local customers, millis = tonumber(ARGV[3]), ARGV[4]
for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local fields = {}
  local sid = string.format('SM%032x', number)
  local customer = string.sub(ARGV[6], 1, 4) .. string.format('%07d', number % customers)
  for at = 7, #ARGV do
    fields[#fields + 1] = string.gsub(string.gsub(ARGV[at], ARGV[5], sid), ARGV[6], customer)
  end
  if number > customers then
    fields[#fields + 1] = 'after'
    fields[#fields + 1] = millis .. '-' .. (number - customers)
  end
  redis.call('XADD', KEYS[1], millis .. '-' .. number, unpack(fields))
end
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Messages 1 to `total` of so many customers, who write in turn, over one channel to one account."""

    total: int
    customers: int
    account: str = ACCOUNT
    kind: str = "sms"

    @property
    def sids(self) -> list[str]:
        """The MessageSids, in the order of the messages."""
        return [f"SM{number:032x}" for number in range(1, self.total + 1)]

    async def fill(self, redis: Redis, stream: str) -> None:
        """Append all of them; nothing else may be appended meanwhile."""
        webhook = message(
            self.kind, account_sid=self.account, sender=f"+{_CUSTOMER}", recipient=OURS, body="hello", sid=_SID
        )
        identity = identify(parse_form(webhook.body), default_account=self.account)
        fields = InboundFields(
            "messaging", self.account, identity.key, identity.subject, time.time_ns() // 1000, webhook.body, ttl=0
        )
        seconds, micros = await redis.time()
        millis = int(seconds) * 1000 + int(micros) // 1000 + 1
        for first in range(1, self.total + 1, PAGE):
            last = min(first + PAGE - 1, self.total)
            arguments: list[Any] = [first, last, self.customers, millis, _SID, _CUSTOMER, *fields_of(fields)]
            await redis.eval(_FILL, 1, stream, *arguments)
