"""Values: dataclasses that nobody changes, which the type checker sees to."""

from dataclasses import replace

import mypy.api

from router.core.addresses import Address
from router.core.events import Disregarded
from tests.core.builders import ACCOUNT, make_cause

CHANGE = """
from router.core.addresses import Address
from router.core.events import MessageReceived

def change(address: Address, message: MessageReceived) -> None:
    address.value = "+1"
    message.account_id = "AC2"
"""


def test_the_type_checker_lets_nobody_change_a_value():
    """An event that was parsed does not change on its way; whoever wants another one makes it."""
    told, _, status = mypy.api.run(["--config-file=", "--cache-dir=/dev/null", "--follow-imports=silent", "-c", CHANGE])
    assert status == 1
    assert told.count("is read-only") == 2


def test_values_compare_and_count_by_what_they_hold():
    """They are equal and one key of a dict where all they hold is equal, and a changed copy is another one."""
    one, same = Address("SMS", "+15550001"), Address("SMS", "+15550001")
    assert one == same
    assert {one: "known"}[same] == "known"
    assert replace(one, value="+15550002") != one


def test_values_have_no_room_for_more():
    """A misspelt name is an error, not a new attribute."""
    assert not hasattr(Disregarded(make_cause(), ACCOUNT, "why"), "__dict__")
