"""TwiML: lines, elements and attributes are checked, against Twilio's own library."""

import ast
import inspect

import pytest
from twilio.twiml import lower_camel, voice_response

from router.core.voice.twiml import (
    ATTRIBUTES,
    CHILDREN,
    MAX_BYTES,
    Attribute,
    Element,
    Text,
    TwimlError,
    check_twiml,
    read_twiml,
)


def problems(text):
    return [(one.line, one.text) for one in check_twiml(read_twiml(text.encode()))]


def test_reading_keeps_lines():
    """Elements, attributes and texts have their lines; comments are gone."""
    root = read_twiml(b'<Response>\n <!-- no -->\n <Say voice="alice"\n  language="en">a\n&amp; b</Say>\n</Response>')
    (say,) = [one for one in root.children if isinstance(one, Element)]
    assert (say.name, say.line) == ("Say", 3)
    assert say.attributes == (Attribute("voice", "alice", 3), Attribute("language", "en", 4))
    assert say.children == (Text("a\n& b", 4),)
    assert say.get("voice").value == "alice"
    assert say.get("loop") is None


@pytest.mark.parametrize(
    ("raw", "line", "words"),
    [
        (b"<Response>\n<Say>\n</Response>", 3, "mismatched tag"),
        (b"", 1, "no element found"),
        (b"<Response/>\n<Response/>", 2, "junk"),
        (b"<Response>&nbsp;</Response>", 1, "undefined entity"),
        (b'\n<!DOCTYPE r [<!ENTITY a "b">]><Response>&a;</Response>', 2, "document type"),
        (b"<Response>\xff</Response>", 1, "not well-formed"),
        (b"<Response>" + b" " * MAX_BYTES + b"</Response>", 1, "bytes"),
    ],
    ids=["unclosed", "empty", "two roots", "entity", "document type", "not utf-8", "too long"],
)
def test_invalid_documents(raw, line, words):
    """A document that is not plain, well-formed XML is refused with its line."""
    with pytest.raises(TwimlError, match=words) as caught:
        read_twiml(raw)
    assert caught.value.problem.line == line


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("<Answer/>", 1, "the root is <Answer>"),
        ("<Response>\n<Conect/>\n</Response>", 2, "did you mean 'Connect'?"),
        ("<Response>\n<dial/>\n</Response>", 2, "did you mean 'Dial'?"),
        ("<Response><ConversationRelay/></Response>", 1, "<ConversationRelay> is not allowed in <Response>"),
        ("<Response><Zzz/></Response>", 1, "unknown element <Zzz>"),
        (
            "<Response><Connect>\n<ConversationRelay\nconversationConfigurationId='c'/></Connect></Response>",
            3,
            "write 'conversationConfiguration'",
        ),
        ("<Response><Start><Transcription\ntracks='both'/></Start></Response>", 2, "did you mean 'track'?"),
        ("<Response><Enqueue workflowsid='W'>q</Enqueue></Response>", 1, "did you mean 'workflowSid'?"),
        ("<Response><Dial callerID='+1'>+1</Dial></Response>", 1, "did you mean 'callerId'?"),
        (
            "<Response><Start>\n<Transcription/></Start><Connect><ConversationRelay url='wss://a'/></Connect></Response>",
            2,
            "transcribes the call twice",
        ),
    ],
)
def test_names_that_twilio_ignores(text, line, words):
    """A name that Twilio would ignore is reported with its line and a correction."""
    ((found, said),) = problems(text)
    assert (found, words in said) == (line, True), said


def test_valid_documents():
    """A document with many elements has no problem; attributes of unlisted elements are not checked."""
    text = """<Response><Say voice="x"><prosody rate="slow">a<break/></prosody></Say>
    <Gather numDigits="1"><Play/></Gather>
    <Dial callerId="+1"><Number sendDigits="1">+1</Number><Sip><Uri>sip:a@b</Uri></Sip></Dial></Response>"""
    assert problems(text) == []


def official():
    """Return the children of each element, and its attributes, in Twilio's own library."""
    tree = ast.parse(inspect.getsource(voice_response))
    classes = {one.name: one for one in tree.body if isinstance(one, ast.ClassDef)}
    tags = {}
    for name, one in classes.items():
        for node in ast.walk(one):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") == "name":
                tags[name] = node.value.value
    children, attributes = {}, {}
    for name, one in classes.items():
        for method in [node for node in one.body if isinstance(node, ast.FunctionDef) and node.name != "__init__"]:
            for node in ast.walk(method):
                made = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
                if made in tags:
                    children.setdefault(tags[name], set()).add(tags[made])
                    named = {lower_camel(each.arg) for each in method.args.args} - {"self"}
                    attributes.setdefault(tags[made], set()).update(named)
    return children, attributes


@pytest.mark.parametrize("parent", sorted(official()[0]))
def test_elements_are_those_of_the_official_library(parent):
    """Every element that Twilio's library can write is allowed."""
    assert official()[0][parent] <= CHILDREN[parent]


@pytest.mark.parametrize(
    ("element", "content"),
    [("ConversationRelay", set()), ("Transcription", set()), ("Enqueue", {"name"}), ("Dial", {"number"})],
)
def test_attributes_are_those_of_the_official_library(element, content):
    """Every attribute that Twilio's library knows is allowed."""
    assert official()[1][element] - content <= ATTRIBUTES[element]


@pytest.mark.parametrize("encoding", ["UTF-6", "rot13", "idna", "undefined"])
def test_unknown_encodings(encoding):
    """An encoding that Python does not have, or that is not for text, is a problem on line 1."""
    with pytest.raises(TwimlError, match=r"use UTF-8|well-formed") as caught:
        read_twiml(f'<?xml version="1.0" encoding="{encoding}"?>\n<Response/>'.encode())
    assert caught.value.problem.line == 1


@pytest.mark.parametrize("parent", ["Start", "Stop"])
def test_media_filter(parent):
    """A media filter, with its attributes and parameters, is valid where it starts and where it stops."""
    text = (
        f"<Response><{parent}><MediaFilter filterType='n' track='inbound_track' name='a' model='m'>"
        f"<Parameter name='a' value='b'/></MediaFilter></{parent}></Response>"
    )
    assert list(check_twiml(read_twiml(text.encode()))) == []


@pytest.mark.parametrize("configuration", ["conv_configuration_1", "Support 2-b_c"])
@pytest.mark.parametrize("element", ["ConversationRelay url='wss://example.com/relay'", "Transcription"])
def test_configuration_by_id_or_unique_name(element, configuration):
    """A configuration is named by id or by unique name."""
    parent = "Start" if element == "Transcription" else "Connect"
    text = f"<Response><{parent}><{element} conversationConfiguration='{configuration}'/></{parent}></Response>"
    assert list(check_twiml(read_twiml(text.encode()))) == []
