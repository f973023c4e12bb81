"""Values: what their users and the type checker rely on."""

import mypy.api
import pytest

from router.core.addresses import Address
from router.core.events import Disregarded
from router.core.routing.inputs import DeclineOffer, LapseHolder, LosePlace, RemoveForeign
from router.core.values import replace
from tests.core.builders import make_cause
from tests.support.accounts import ACCOUNT

CHANGE = """
from router.core.addresses import Address
from router.core.events import MessageReceived

def change(address: Address, message: MessageReceived) -> None:
    address.value = "+1"
    message.account_id = "AC2"
"""
MISUSE = """
from router.core.addresses import Address
from router.core.values import replace

def misuse(address: Address) -> None:
    Address("SMS")
    Address("SMS", "+1", kind="x")
    replace(address, kind="x")
    replace(address, value=1)
"""


def complaints_of(program):
    """Return the errors that the type checker finds."""
    output, _, status = mypy.api.run(
        ["--config-file=", "--cache-dir=/dev/null", "--follow-imports=silent", "-c", program]
    )
    assert status == 1
    return output


def test_the_type_checker_refuses_to_change_a_value():
    """Assigning to a field of a value is a type error."""
    assert complaints_of(CHANGE).count("is read-only") == 2


def test_the_type_checker_knows_the_fields_of_a_value():
    """A missing, unknown or wrong field is a type error, in a new value and in a changed copy."""
    found = complaints_of(MISUSE)
    assert 'Missing positional argument "value"' in found
    assert 'Unexpected keyword argument "kind" for "Address"' in found
    assert 'Unexpected keyword argument "kind" for "replace"' in found
    assert 'Argument "value" to "replace"' in found


def test_values_compare_and_hash_by_content():
    """Values with equal fields are equal and one dict key; a changed copy is another value."""
    one, same = Address("SMS", "+15550001"), Address("SMS", "+15550001")
    assert one == same
    assert {one: "known"}[same] == "known"
    assert replace(one, value="+15550002") != one


def test_values_of_two_classes_differ():
    """A value is never equal to one of another class, whatever both hold."""
    assert LosePlace("x") == LosePlace("x")
    assert LosePlace("x") != RemoveForeign("x")
    assert DeclineOffer("x", "y") != LapseHolder("x", "y")


def test_values_do_not_change():
    """Setting a field raises an error also where no type checker looks; so does replacing one that does not exist."""
    address = Address("SMS", "+15550001")
    with pytest.raises(AttributeError):
        address.value = "+15550002"
    with pytest.raises(TypeError):
        replace(address, kind="x")
    assert address == Address("SMS", "+15550001")


def test_values_have_no_other_attributes():
    """Setting a misspelt attribute raises an error."""
    assert not hasattr(Disregarded(make_cause(), ACCOUNT, "why"), "__dict__")
