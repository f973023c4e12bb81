"""TwiML for calls, as far as templates are checked against it: a parser that keeps lines, elements and attributes.

Twilio silently ignores names that it does not know, and the caller hears nothing. A misspelt element or attribute is
therefore a problem here, with its line and the nearest correct name. The names follow
https://www.twilio.com/docs/voice/twiml; a test compares them with Twilio's official library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from xml.parsers.expat import ExpatError, ParserCreate

if TYPE_CHECKING:
    from collections.abc import Iterator


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SPEECH: Final = frozenset(
    {"break", "emphasis", "lang", "p", "phoneme", "prosody", "s", "say-as", "sub", "w", "Break", "Emphasis"}
)
_SAYING: Final = frozenset({"Say", "Play", "Pause"})
_NONE: Final[frozenset[str]] = frozenset()
#: The children that each element may have. Names that are not listed are unknown.
CHILDREN: Final[dict[str, frozenset[str]]] = {
    "Response": frozenset(
        {
            *_SAYING,
            *("Connect", "Dial", "Echo", "Enqueue", "Gather", "Hangup", "Leave", "Pay", "Prompt", "Queue", "Record"),
            *("Redirect", "Refer", "Reject", "Sms", "Start", "Stop"),
        }
    ),
    "Connect": frozenset(
        {"AiSession", "Autopilot", "Conversation", "ConversationRelay", "ConversationRelaySession", "Room"}
        | {"Stream", "VirtualAgent"}
    ),
    "Start": frozenset({"MediaFilter", "Recording", "Siprec", "Stream", "Transcription"}),
    "Stop": frozenset({"MediaFilter", "Recording", "Siprec", "Stream", "Transcription"}),
    "ConversationRelay": frozenset({"Language", "Parameter"}),
    "Transcription": frozenset({"Config", "Parameter"}),
    "VirtualAgent": frozenset({"Config", "Parameter"}),
    "MediaFilter": frozenset({"Parameter"}),
    "Stream": frozenset({"Parameter"}),
    "Siprec": frozenset({"Parameter"}),
    "Enqueue": frozenset({"Task"}),
    "Dial": frozenset({"Application", "Client", "Conference", "Number", "Queue", "Sim", "Sip", "WhatsApp"}),
    "Client": frozenset({"Identity", "Parameter"}),
    "Application": frozenset({"ApplicationSid", "Parameter"}),
    "Sip": frozenset({"Uri", "Headers"}),
    "Headers": frozenset({"Header"}),
    "Gather": _SAYING,
    "Prompt": _SAYING,
    "Pay": frozenset({"Prompt", "Parameter"}),
    "Refer": frozenset({"Sip"}),
    "Reject": frozenset({"Parameter"}),
    "Hangup": frozenset({"Parameter"}),
    "Say": _SPEECH,
    **dict.fromkeys(("emphasis", "lang", "p", "prosody", "s", "w"), _SPEECH),
}
KNOWN: Final = frozenset(CHILDREN).union(*CHILDREN.values())
#: The attributes that put a call into a conversation: by its id, or by a configuration, whose grouping finds it.
CONVERSATION_ID, CONFIGURATION = "conversationId", "conversationConfiguration"
_ATTACHING: Final = frozenset({CONVERSATION_ID, CONFIGURATION})
#: All attributes of the elements that matter most here.
#: https://www.twilio.com/docs/voice/twiml/connect/conversationrelay
ATTRIBUTES: Final[dict[str, frozenset[str]]] = {
    "ConversationRelay": _ATTACHING
    | _words(
        """
        url language ttsLanguage transcriptionLanguage ttsProvider voice transcriptionProvider speechModel
        profanityFilter dtmfDetection welcomeGreeting partialPrompts welcomeGreetingInterruptible interruptible
        interruptByDtmf preemptible hints intelligenceService reportInputDuringAgentSpeech elevenlabsTextNormalization
        interruptSensitivity debug backgroundNoiseReduction speechTimeout deepgramSmartFormat ignoreBackchannel events
        partialPromptOnHangup eagerEotThreshold asrSmartFormat ttsTextNormalization ttsLanguageTextNormalization
        elevenlabsLanguageTextNormalization includeInPrompt customerName applicationReconnect echoPromptFiltering
        turnDetection
        """
    ),
    "Transcription": _ATTACHING
    | _words(
        """
        name track statusCallbackUrl statusCallbackMethod inboundTrackLabel outboundTrackLabel partialResults
        languageCode transcriptionEngine profanityFilter speechModel hints enableAutomaticPunctuation
        intelligenceService
        """
    ),
    "MediaFilter": frozenset({"filterType", "track", "name", "model"}),
    "Enqueue": frozenset({"action", "maxQueueSize", "method", "waitUrl", "waitUrlMethod", "workflowSid"}),
    "Dial": _words(
        """
        action method timeout hangupOnStar timeLimit callerId record trim recordingStatusCallback
        recordingConfigurationId recordingStatusCallbackMethod recordingStatusCallbackEvent answerOnBridge ringTone
        recordingTrack sequential referUrl referMethod events passports
        """
    ),
}
#: Frequent mistakes that Twilio ignores, for which the search by likeness finds no name or the wrong one.
_MISNAMED: Final = {"conversationConfigurationId": CONFIGURATION, "conversationSid": CONVERSATION_ID}
#: Size of the largest document that Twilio takes.
MAX_BYTES: Final = 64_000


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute and its line."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Text:
    """Character data and the line on which it begins."""

    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Element:
    """An element, its line, attributes and children."""

    name: str
    line: int
    attributes: tuple[Attribute, ...] = ()
    children: tuple[Element | Text, ...] = ()

    def walk(self) -> Iterator[Element]:
        """Yield the element and all elements in it."""
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def get(self, name: str) -> Attribute | None:
        """Return an attribute by its name."""
        return next((one for one in self.attributes if one.name == name), None)


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """A mistake in a template, with its line."""

    line: int
    text: str


class TwimlError(Exception):
    """The document is not well-formed; `problem` says where and why."""

    def __init__(self, problem: TemplateProblem) -> None:
        super().__init__(problem.text)
        self.problem = problem


def read_twiml(raw: bytes) -> Element:
    """Parse a document, without comments; raises TwimlError if it is not plain, well-formed XML."""
    if len(raw) > MAX_BYTES:
        raise TwimlError(TemplateProblem(1, f"{len(raw)} bytes: Twilio accepts at most {MAX_BYTES}"))
    return _TwimlReader(raw).read()


class _TwimlReader:
    """Builds elements with their lines, which the standard library's parsers do not keep."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._stack: list[tuple[str, int, tuple[Attribute, ...], list[Element | Text]]] = [("", 1, (), [])]
        self._parser: Any = ParserCreate()
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._refuse

    def read(self) -> Element:
        try:
            self._parser.Parse(self._raw, True)
        except ExpatError as error:
            raise TwimlError(TemplateProblem(error.lineno, f"not well-formed XML: {error}")) from error
        except (LookupError, ValueError) as error:  # an encoding that Python does not have, or not one for text
            raise TwimlError(TemplateProblem(1, "unknown encoding: use UTF-8")) from error
        (root,) = [one for one in self._stack[0][3] if isinstance(one, Element)]
        return root

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        line, at = self._parser.CurrentLineNumber, self._parser.CurrentByteIndex
        found = tuple(Attribute(each, value, self._find(each, line, at)) for each, value in attributes.items())
        self._stack.append((name, line, found, []))

    def _find(self, name: str, line: int, at: int) -> int:
        """Return the line of an attribute in the tag that starts at byte `at` on `line`."""
        match = re.compile(rb"\s" + re.escape(name.encode()) + rb"\s*=").search(self._raw, at)
        return line + self._raw[at : match.start() + 1].count(b"\n") if match else line

    def _end(self, _: str) -> None:
        name, line, attributes, children = self._stack.pop()
        self._stack[-1][3].append(Element(name, line, attributes, tuple(children)))

    def _text(self, value: str) -> None:
        """Collect character data: consecutive pieces become one text, on the line of the first."""
        siblings = self._stack[-1][3]
        if siblings and isinstance(siblings[-1], Text):
            siblings[-1] = Text(siblings[-1].value + value, siblings[-1].line)
        else:
            siblings.append(Text(value, self._parser.CurrentLineNumber))

    def _refuse(self, *_: object) -> None:
        raise TwimlError(TemplateProblem(self._parser.CurrentLineNumber, "a document type is not allowed"))


def check_twiml(root: Element) -> Iterator[TemplateProblem]:
    """Yield the misplaced and misspelt names of a document, and double transcription."""
    if root.name != "Response":
        yield TemplateProblem(root.line, f"the root is <{root.name}>, not <Response>")
        return
    for element in root.walk():
        allowed = CHILDREN.get(element.name, _NONE)
        for child in element.children:
            if isinstance(child, Element) and child.name not in allowed and element.name in KNOWN:
                yield TemplateProblem(child.line, _describe_child(child.name, element.name, allowed))
        yield from _check_attributes(element)
    yield from _check_transcription(root)


def _describe_child(name: str, parent: str, allowed: frozenset[str]) -> str:
    if name in KNOWN:
        return f"<{name}> is not allowed in <{parent}>"
    return f"unknown element <{name}>{_nearest(name, allowed or KNOWN)}"


def _check_attributes(element: Element) -> Iterator[TemplateProblem]:
    known = ATTRIBUTES.get(element.name)
    for attribute in element.attributes:
        if known is not None and attribute.name not in known:
            right = _MISNAMED.get(attribute.name)
            hint = f": write '{right}'" if right in known else _nearest(attribute.name, known)
            text = f"<{element.name}> has no attribute '{attribute.name}', so Twilio would ignore it{hint}"
            yield TemplateProblem(attribute.line, text)


def _check_transcription(root: Element) -> Iterator[TemplateProblem]:
    """Find double transcription: it costs twice, and every utterance becomes two communications."""
    names = {element.name for element in root.walk()}
    if "ConversationRelay" in names:
        for element in root.walk():
            started = [one for one in element.children if isinstance(one, Element) and one.name == "Transcription"]
            if element.name == "Start" and started:
                text = "<Start><Transcription> beside <ConversationRelay> transcribes the call twice: remove one"
                yield TemplateProblem(started[0].line, text)


def _nearest(name: str, known: frozenset[str]) -> str:
    by_lower = {one.lower(): one for one in sorted(known)}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return f": did you mean '{by_lower[found[0]]}'?" if found else ""
