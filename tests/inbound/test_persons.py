"""Who wrote a message: ids in every spelling, and names that are bounded and on one line, whatever they contain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.addresses import Address, parse_address
from router.core.errors import UnreadableError
from router.core.events import Person
from router.core.signing.form import parse_form
from router.inbound.messaging import identify, normalize
from router.inbound.persons import aliases_of, read_person, recognize
from tests.inbound.samples import encode_form, make_entry
from tests.support.accounts import ACCOUNT

PHONE, OURS = "whatsapp:+15551230001", "whatsapp:+15557650002"
USER, PARENT = "US.13491208655302741918", "US.ENT.506129382947"
AT_PHONE, AT_ID = Address("WHATSAPP", PHONE), Address("WHATSAPP", f"whatsapp:{USER}")
AT_PARENT = Address("WHATSAPP", f"whatsapp:{PARENT}")
NUMBER = Address("SMS", "+15551230001")


def form_of(**params):
    return ({"To": OURS, "MessageSid": "SM00000000000000000000000000000001", "AccountSid": ACCOUNT} | params).items()


def event_of(**params):
    return normalize(make_entry(encode_form(form_of(**params))))


def subject_of(**params):
    return identify(parse_form(encode_form(form_of(**params))), default_account=ACCOUNT).subject


@pytest.mark.parametrize(
    ("given", "name"),
    [
        pytest.param("Ana", "Ana", id="plain"),
        pytest.param("  Zoë \u9673 ", "Zoë \u9673", id="other-scripts"),
        pytest.param("Ana\r\nBcc:\tx\x1b[2J\u202e", "Ana Bcc: x [2J", id="control-characters"),
        pytest.param("x" * 1000, "x" * 256, id="long"),
        pytest.param(" \u200b ", None, id="nothing-to-see"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="missing"),
    ],
)
def test_profile_name(given, name):
    """A profile's name is text from outside: it stays on one line."""
    assert read_person({"ProfileName": given} if given is not None else {}, NUMBER) == Person(profile_name=name)


@pytest.mark.parametrize("prefix", ["", "whatsapp:", "WhatsApp: ", " "])
@pytest.mark.parametrize("username", ["ProfileUsername", "Username"])
def test_ids_with_and_without_prefix(prefix, username):
    """Ids are told without their prefix, whichever way they come."""
    told = {"ExternalUserId": f"{prefix}{USER}", "ParentExternalUserId": f"{prefix}{PARENT}", username: "ana.s"}
    event = event_of(From=PHONE, **told)
    assert event.person == Person(USER, PARENT, "ana.s")
    assert (event.customer, event.aliases, event.known_as) == (AT_PHONE, (AT_ID, AT_PARENT), AT_ID)
    assert subject_of(From=PHONE, **told) == f"{AT_ID.key}|+15557650002"


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"From": f"whatsapp:{USER}"}, id="from"),
        pytest.param({"From": USER}, id="from-without-prefix"),
        pytest.param({"From": f"whatsapp:{USER}", "ExternalUserId": USER}, id="both"),
        pytest.param({"ExternalUserId": USER}, id="no-from"),
        pytest.param({"From": "", "ExternalUserId": f"whatsapp:{USER}"}, id="empty-from"),
        pytest.param({"From": "whatsapp:", "ExternalUserId": f"whatsapp:{USER}"}, id="only-a-prefix"),
        pytest.param({"From": PHONE, "ExternalUserId": USER}, id="phone-and-id"),
    ],
)
def test_one_user_has_one_subject(params):
    """However a message tells the user, its subject is that of the id, and it is known by the id."""
    assert subject_of(**params) == f"{AT_ID.key}|+15557650002"
    event = event_of(**params)
    assert (event.person.external_user_id, event.known_as.key) == (USER, AT_ID.key)
    assert AT_ID.key in {one.key for one in (event.customer, *event.aliases)}


def test_a_parent_id_alone():
    """A user may be known by the id for a group of businesses alone."""
    event = event_of(From=f"whatsapp:{PARENT}")
    assert event.person == Person(parent_external_user_id=PARENT)
    assert event_of(ParentExternalUserId=PARENT).customer == AT_PARENT
    assert event_of(From=AT_PARENT.value, ExternalUserId=USER).known_as == AT_ID


@pytest.mark.parametrize("odd", ["x" * 5000, "+15551230001", "whatsapp:", " ", "a b", "\x00", "\u202e", "üx.1", "0"])
def test_an_odd_id_is_no_reason_to_refuse(odd):
    """An id of any form leaves the message as it is."""
    event = event_of(From=PHONE, ExternalUserId=odd, ParentExternalUserId=odd)
    assert (event.customer, subject_of(From=PHONE, ExternalUserId=odd).partition("|")[0]) == (AT_PHONE, "WHATSAPP")


def test_a_number_as_an_id_is_no_alias():
    """What tells the phone again is no id."""
    event = event_of(From=PHONE, ExternalUserId=PHONE)
    assert (event.person.external_user_id, event.aliases, event.known_as) == (None, (), AT_PHONE)


def test_ids_on_other_channels_are_told_only():
    """On other channels an id is told, and the address stays what identifies the customer."""
    event = event_of(From="+15551230001", To="+15557650002", ExternalUserId="U1")
    assert (event.person.external_user_id, event.aliases, event.known_as) == ("U1", (), NUMBER)
    assert subject_of(From="+15551230001", To="+15557650002", ExternalUserId="U1") == "SMS|+15551230001|+15557650002"


def test_nobody_wrote():
    """A message that tells no sender at all is refused, and the error names it."""
    with pytest.raises(UnreadableError, match="From"):
        event_of(ExternalUserId=" ")


@given(st.text(), st.text(), st.text())
def test_any_texts_are_read(sender, external, parent):
    """Any texts make a person, whose subject is one of the addresses that belong to it."""
    customer = parse_address(sender, default="WHATSAPP")
    person = read_person({"ExternalUserId": external, "ParentExternalUserId": parent}, customer)
    aliases = aliases_of(person, customer)
    assert recognize(aliases, customer) in {customer, *aliases}
    assert customer not in aliases
