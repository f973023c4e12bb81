"""Values: dataclasses that the type checker keeps immutable."""

from dataclasses import replace

import mypy.api

from router.core.addresses import Address
from router.core.events import Disregarded
from tests.core.builders import make_cause
from tests.support.accounts import ACCOUNT

CHANGE = """
from router.core.addresses import Address
from router.core.events import MessageReceived

def change(address: Address, message: MessageReceived) -> None:
    address.value = "+1"
    message.account_id = "AC2"
"""


def test_the_type_checker_refuses_to_change_a_value():
    """Assigning to a field of a value is a type error."""
    output, _, status = mypy.api.run(
        ["--config-file=", "--cache-dir=/dev/null", "--follow-imports=silent", "-c", CHANGE]
    )
    assert status == 1
    assert output.count("is read-only") == 2


def test_values_compare_and_hash_by_content():
    """Values with equal fields are equal and one dict key; a changed copy is another value."""
    one, same = Address("SMS", "+15550001"), Address("SMS", "+15550001")
    assert one == same
    assert {one: "known"}[same] == "known"
    assert replace(one, value="+15550002") != one


def test_values_have_no_other_attributes():
    """Setting a misspelt attribute raises an error."""
    assert not hasattr(Disregarded(make_cause(), ACCOUNT, "why"), "__dict__")
