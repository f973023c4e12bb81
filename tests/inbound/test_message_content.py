"""The content of messages: what channels send beside the text or instead of it."""

import json

import pytest

from router.core.events import Choice, Content, Location, Medium, Referral
from router.core.provider_fields import MAX_BYTES, MAX_FIELDS, NO_FIELDS, bound_fields, bound_texts, room_for
from router.inbound.messaging import normalize
from tests.inbound.samples import encode_form, load_form, make_entry

PICKED = {"type": "list_reply", "list_reply": {"id": "a", "title": "A"}}
WHATSAPP = {"From": "whatsapp:+15551230004", "To": "whatsapp:+15557650002", "MessageSid": "SM1", "Body": ""}
SMS = {"From": "+15551230001", "To": "+15557650001", "MessageSid": "SM1"}
AD = "https://example.com/ad.jpg"


def content_of(params):
    """Return the content of a form, as the worker reads it."""
    return normalize(
        make_entry(encode_form([(name, text) for name, text in params.items() if text is not None]))
    ).content


@pytest.mark.parametrize(
    ("params", "content"),
    [
        pytest.param({"Body": "hi"}, Content("hi"), id="text"),
        pytest.param({"Body": ""}, Content(), id="no text"),
        pytest.param({"Body": None}, Content(), id="no parameter"),
        pytest.param(
            {"Body": "", "ButtonText": "Yes"}, Content("Yes", "REPLY", choice=Choice(None, "Yes")), id="button"
        ),
        pytest.param(
            {"Body": "Sure", "ButtonText": "Yes", "ButtonPayload": "y"},
            Content("Sure", "REPLY", choice=Choice("y", "Yes")),
            id="text with a button",
        ),
        pytest.param(
            {"ListId": "slot-2", "ListTitle": "10:30"},
            Content("10:30", "REPLY", choice=Choice("slot-2", "10:30")),
            id="list",
        ),
        pytest.param(
            {"Body": "", "NumMedia": "2", "MediaUrl0": "https://x/ME0", "MediaContentType0": "image/png"},
            Content(media=(Medium("image/png", "https://x/ME0"), Medium())),
            id="media without type and URL",
        ),
        pytest.param({"Body": "x", "NumMedia": "0", "MediaUrl0": "https://x/ME0"}, Content("x"), id="no media"),
        pytest.param(
            {"Latitude": "52.5", "Longitude": "-13.3", "Address": "Example Square 1", "Label": "Gate"},
            Content("", "LOCATION", location=Location(52.5, -13.3, "Example Square 1", "Gate")),
            id="location",
        ),
        pytest.param(
            {"Latitude": "0", "Longitude": "+180.0"},
            Content("", "LOCATION", location=Location(0.0, 180.0)),
            id="location without names",
        ),
        pytest.param(
            {"Body": "Yes", "OriginalRepliedMessageSid": "SM9"}, Content("Yes", in_reply_to="SM9"), id="in reply to"
        ),
        pytest.param({"OptOutType": "stop", "Body": "Halt"}, Content("Halt", opt_out="STOP"), id="opt-out"),
        pytest.param(
            {"FlowData": '{"slot":"10:30"}'}, Content("", "REPLY", choice=Choice(data={"slot": "10:30"})), id="flow"
        ),
        pytest.param(
            {"InteractiveData": json.dumps(PICKED)},
            Content("A", "REPLY", choice=Choice("a", "A", PICKED)),
            id="interactive",
        ),
    ],
)
def test_content(params, content):
    """Each kind of content has its own field, and nothing of it is left for `provider`."""
    assert content_of(WHATSAPP | params) == content


@pytest.mark.parametrize("count", [None, "", "x", "-1", "2.0", "9" * 400])
def test_media_without_a_count(count):
    """Without a count that is a number there are as many media as are told."""
    media = {"MediaUrl0": "https://x/ME0", "MediaContentType0": "image/png", "MediaUrl1": "https://x/ME1"}
    assert content_of(SMS | media | {"NumMedia": count}).media == (
        Medium("image/png", "https://x/ME0"),
        Medium(None, "https://x/ME1"),
    )


def test_an_ad():
    """The ad that led to a message has its own media, which are not the message's."""
    ad = {
        "ReferralNumMedia": "1",
        "ReferralMediaUrl": AD,
        "ReferralMediaContentType": "image/jpeg",
        "ReferralHeadline": "Sale",
        "ReferralBody": "Come in",
        "ReferralSourceId": "17",
        "ReferralSourceType": "ad",
        "ReferralSourceUrl": "https://example.com/p",
        "ReferralCtwaClid": "c1",
        "ReferralMediaId": "42",
    }
    content = content_of(WHATSAPP | ad | {"Body": "hello", "NumMedia": "0"})
    media = (Medium("image/jpeg", AD),)
    assert content.referral == Referral("ad", "17", "https://example.com/p", "Sale", "Come in", "c1", media)
    assert (content.text, content.kind, content.media) == ("hello", "TEXT", ())
    assert content.provider.fields == (("ReferralMediaId", "42"),)
    assert content_of(WHATSAPP | {"ReferralNumMedia": "0"}) == Content()


@pytest.mark.parametrize(
    "wrong",
    [
        {"Latitude": "91", "Longitude": "1"},
        {"Latitude": "1", "Longitude": "180.5"},
        {"Latitude": "nan", "Longitude": "1"},
        {"Latitude": "52,5", "Longitude": "13,3"},
        {"Latitude": "1"},
        {"FlowData": "{"},
        {"InteractiveData": "[1]"},
        {"FlowData": "{" + '"a":{' * 2000 + "}" * 2001},
    ],
)
def test_what_is_not_understood_is_passed_on(wrong):
    """A value out of range, or that is not of its form, loses nothing: it stands under `provider`."""
    content = content_of(WHATSAPP | wrong)
    assert (content.kind, content.location, content.choice) == ("TEXT", None, None)
    assert dict(content.provider.fields) == wrong or content.provider.is_cut


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("order", "", "ORDER"),
        ("reaction", "", "REACTION"),
        ("reaction", "👍", "TEXT"),
        ("image", "", "TEXT"),
        ("<b>", "", "TEXT"),
        ("x" * 100, "", "TEXT"),
    ],
)
def test_other_types(kind, text, shown):
    """A message of another type that has nothing of ours has the provider's type."""
    content = content_of(WHATSAPP | {"MessageType": kind, "Body": text})
    assert (content.kind, dict(content.provider.fields)) == (shown, {"MessageType": kind})


@pytest.mark.parametrize(
    ("params", "opt_out"),
    [
        ({"Body": "STOP"}, "STOP"),
        ({"Body": " stop\n"}, "STOP"),
        ({"Body": "Unsubscribe"}, "STOP"),
        ({"Body": "help"}, "HELP"),
        ({"Body": "START"}, "START"),
        ({"Body": "stop it"}, None),
        ({"Body": "yes"}, None),
        ({"Body": "help", "To": "12345"}, "HELP"),
        ({"Body": "help", "To": "+4915550001"}, None),
        ({"Body": "stop", "To": "+4915550001"}, "STOP"),
        ({"Body": "stop", "From": "whatsapp:+15551230001", "To": "whatsapp:+15557650001"}, None),
        ({"Body": "Hilfe", "OptOutType": "HELP"}, "HELP"),
    ],
)
def test_opt_out(params, opt_out):
    """Twilio names the keyword, or answers the default ones on SMS itself."""
    assert content_of(SMS | params).opt_out == opt_out


def test_the_rest_is_passed_on():
    """All other parameters are there, but not empty ones or those that an entry has elsewhere."""
    fields = dict(content_of(dict(load_form("whatsapp"))).provider.fields)
    assert (fields["ButtonType"], fields["Forwarded"], fields["WaId"]) == ("QUICK_REPLY", "true", "14155550103")
    assert not {"Body", "From", "To", "MessageSid", "SmsSid", "ApiVersion", "MediaUrl0", "ListId"} & fields.keys()
    assert dict(content_of(SMS | {"FromCity": "", "FromZip": "1"}).provider.fields) == {"FromZip": "1"}


def test_provider_fields_are_bounded():
    """What is passed on is whole; what does not fit is left out, and that is told."""
    assert bound_fields({"a": "", "b": None}) == NO_FIELDS
    many = bound_fields({f"f{number:03}": "x" for number in range(MAX_FIELDS + 1)})
    assert (len(many.fields), many.is_cut) == (MAX_FIELDS, True)
    assert bound_fields({"a": "x" * MAX_BYTES, "b": "y"}) == ((("b", "y"),), True)
    assert bound_fields({"n" * 65: "x"}) == ((), True)
    for texts in ({"a": "x", "b": "", "c": "z" * 3000}, {"n" * 65: "x", "b": "y"}, {"b": "é" * 5000}, {}):
        names = sorted(texts)
        assert bound_texts(texts, names, room_for(names)) == bound_fields(texts)
    assert bound_fields({"a": {"b": [1]}}) == ((("a", {"b": [1]}),), False)
