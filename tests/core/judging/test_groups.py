"""The further members of a group message, with plain values."""

from router.core.addresses import Address
from router.core.judging.groups import wanted_members
from router.core.values import replace
from tests.core.builders import CUSTOMER, DESK, make_message
from tests.core.judging.events import make_context
from tests.support.policies import PLAIN

BEN = Address(CUSTOMER.channel, "+15551230002")
DAN = Address(CUSTOMER.channel, "+15551230003")


def test_our_addresses_are_no_members():
    """The message's recipient and known addresses of ours are no members, even if the recipient is not known yet."""
    message = replace(make_message(recipient=DESK), others=(DESK, BEN, DAN))
    assert wanted_members(make_context(PLAIN, own={DAN.key}), message) == (BEN,)
