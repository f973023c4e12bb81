"""TwiML templates: the answer to a call for each target, with variables in double braces.

Values are escaped for their place: an attribute, text, or JSON inside text (in a `<Task>`). Some things are left out:

    an attribute made of variables only        omitted if all of them are empty
    conversationId, conversationConfiguration  Twilio takes one of them: the id if the conversation is known
    <Enqueue>                                  either TaskRouter (workflowSid and <Task>) or the queue named by its text

People may have a template for each queue of routing.toml, human-agent.<queue>.xml; human-agent.xml is for all others.

Everything is checked at the start: a template that Twilio ignores in part fails every caller.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from router.core.errors import TemplateError
from router.core.keys import Target
from router.core.voice.twiml import (
    CONFIGURATION,
    CONVERSATION_ID,
    Attribute,
    Element,
    TemplateProblem,
    Text,
    TwimlError,
    check_twiml,
    read_twiml,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Variables that a call provides, and their meaning.
CALL_VARIABLES: Final = {
    "call_sid": "the CallSid",
    "from": "the caller as Twilio writes it",
    "to": "the number or app called",
    "account_id": "the account SID",
    "configuration_id": "the configuration of the account's conversations",
    "conversation_id": "the call's conversation; empty while it is not known",
    "target": "the target of the call: ai-agent or human-agent",
    "reason": "the routing rule that decided",
    "handoff_data": "the AI agent's data when it handed the caller over",
    "summary": "the summary in that data",
    "team_queue": "the queue of the routing rule or of that data: 'default' if neither names one",
    "skills": "the skills of the rule or of that data, with commas",
    "priority": "the priority of the rule or of that data, from 0",
    "voice_url": "the URL of this route, for `action`",
}
#: Variables that the operator provides, and their setting.
OPERATOR_VARIABLES: Final = {
    "relay_url": "ROUTER_VOICE_RELAY_URL",
    "workflow_sid": "ROUTER_VOICE_WORKFLOW_SID",
    "queue": "ROUTER_VOICE_QUEUE",
}
#: The template for calls without a target.
IGNORE: Final = "ignore"
NAMES: Final = (*(str(target) for target in Target), IGNORE)
#: Begins the name of a template for one queue.
_OF_QUEUE: Final = f"{Target.HUMAN_AGENT}."
_KNOWN: Final = (*CALL_VARIABLES, *OPERATOR_VARIABLES)
_VARIABLE: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_HEAD: Final = '<?xml version="1.0" encoding="UTF-8"?>'
#: Longer values are cut; no template needs more.
MAX_VALUE: Final = 4096
#: Characters that XML 1.0 cannot contain, escaped or not.
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REJECTION: Final = Element("Response", 1, (), (Element("Reject", 1),))
Values = dict[str, str]


@dataclass(frozen=True, slots=True)
class Template:
    """A checked template."""

    root: Element

    def render(self, values: Mapping[str, str]) -> bytes:
        """Render the document; a variable without a value is empty. Total: any text may be a value."""
        return "".join((_HEAD, *_write(self.root, values))).encode()

    @property
    def variables(self) -> frozenset[str]:
        """The variables that it uses."""
        texts = [one.value for each in self.root.walk() for one in each.attributes]
        texts += [one.value for each in self.root.walk() for one in each.children if isinstance(one, Text)]
        return frozenset(name for text in texts for name in _names(text))

    @property
    def is_attaching(self) -> bool:
        """Whether it puts the call into a conversation."""
        return any(each.get(name) for each in self.root.walk() for name in (CONVERSATION_ID, CONFIGURATION))


@dataclass(frozen=True, slots=True)
class VoiceTemplates:
    """The templates by name (NAMES, and those of queues), the operator's variables, and notes for the log."""

    templates: Mapping[str, Template]
    given: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def answer(self, target: Target | None, values: Mapping[str, str], queue: str = "") -> bytes:
        """Render the answer to a call for `target` (None: nobody takes it), of people for those of a queue."""
        return self._of(target, queue).render({**values, **self.given})

    def wants(self, target: Target | None, variable: str, queue: str = "") -> bool:
        """Return whether the answer for `target` uses a variable."""
        return variable in self._of(target, queue).variables

    def _of(self, target: Target | None, queue: str = "") -> Template:
        found = self.templates[str(target) if target else IGNORE]
        if found is self.templates[Target.HUMAN_AGENT]:  # the AI agent's too, if it is not on the phone
            return self.templates.get(f"{_OF_QUEUE}{queue}", found)
        return found

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues that have a template of their own."""
        return tuple(name.removeprefix(_OF_QUEUE) for name in self.templates if name.startswith(_OF_QUEUE))

    @property
    def attaching(self) -> frozenset[Target]:
        """The targets of whom every answer puts the call into a conversation."""
        people = self.templates[Target.HUMAN_AGENT]
        of_queues = all(self.templates[f"{_OF_QUEUE}{name}"].is_attaching for name in self.queues)
        return frozenset(
            target
            for target in Target
            if self._of(target).is_attaching and (of_queues or self._of(target) is not people)
        )


#: Used without any templates: every call is rejected.
REJECTING: Final = VoiceTemplates(
    dict.fromkeys(NAMES, Template(_REJECTION)), {}, ("there are no voice templates: every call is rejected",)
)


def read_templates(files: Mapping[str, bytes], given: Mapping[str, str], origin: str = "voice") -> VoiceTemplates:
    """Parse the templates in `files` (by file name); raises TemplateError with all problems, each with file and line.

    `given` are the operator's variables that are set. If the AI agent's template needs a relay and none is set, its
    calls get the answer for people, and a note says so.
    """
    of_queues = [name.removesuffix(".xml") for name in sorted(files) if _is_of_queue(name)]
    known = ", ".join(f"{one}.xml" for one in (*NAMES, f"{_OF_QUEUE}<queue>"))
    problems = [
        f"{origin}/{name}: unknown template (known: {known})"
        for name in sorted(files)
        if name.removesuffix(".xml") not in {*NAMES, *of_queues}
    ]
    templates: dict[str, Template] = {}
    notes: list[str] = []
    for name in (*NAMES, *of_queues):
        where = f"{origin}/{name}.xml"
        raw = files.get(f"{name}.xml")
        if raw is None:
            problems.append(f"{where}: is missing")
            continue
        root, wrong, unset = _read(raw, given)
        if unset and not wrong and name == Target.AI_AGENT:
            notes += [_choice(where, one) for one in unset]
        else:
            problems += [f"{where}:{one.line}: {one.text}" for one in (*wrong, *unset)]
            templates[name] = Template(root)
    if problems:
        raise TemplateError(problems)
    templates.setdefault(Target.AI_AGENT, templates[Target.HUMAN_AGENT])
    return VoiceTemplates(templates, given, (*notes, *_unused(templates, given, notes)))


def _is_of_queue(name: str) -> bool:
    return name.startswith(_OF_QUEUE) and name.endswith(".xml") and len(name) > len(_OF_QUEUE) + len(".xml")


def _choice(where: str, unset: TemplateProblem) -> str:
    """Return the note about an AI agent that is not to take calls; that is a choice, and no mistake."""
    (name,) = _names(unset.text)
    return (
        f"people take the AI agent's calls; {OPERATOR_VARIABLES[name]} would change that ({{{{{name}}}}} on line "
        f"{unset.line} of {where})"
    )


def _unused(templates: Mapping[str, Template], given: Mapping[str, str], notes: list[str]) -> list[str]:
    used = frozenset().union(*(template.variables for template in templates.values()))
    unused = [] if notes else [name for name in given if name not in used and name != "queue"]
    return [f"{OPERATOR_VARIABLES[name]} is set, but no voice template uses {{{{{name}}}}}" for name in unused]


def _read(raw: bytes, given: Mapping[str, str]) -> tuple[Element, list[TemplateProblem], list[TemplateProblem]]:
    """Parse a template; return the root, the mistakes, and the variables whose setting is missing."""
    try:
        root = read_twiml(raw)
    except TwimlError as error:
        return Element("Response", 1), [error.problem], []
    wrong = [*check_twiml(root), *_check_variables(root, given)]
    unset: list[TemplateProblem] = []
    for element in root.walk():
        for check in _CHECKS.get(element.name, ()):
            for problem, is_unset in check(element, given):
                (unset if is_unset else wrong).append(problem)
    return root, sorted(wrong, key=lambda problem: problem.line), unset


def _check_variables(root: Element, given: Mapping[str, str]) -> Iterator[TemplateProblem]:
    for element in root.walk():
        for attribute in element.attributes:
            yield from _check_names(attribute.value, attribute.line)
        for child in element.children:
            if isinstance(child, Text):
                yield from _check_names(child.value, child.line)
                missing = [name for name in _names(child.value) if name in OPERATOR_VARIABLES and not given.get(name)]
                yield from (TemplateProblem(child.line, _not_set(name)) for name in missing)


def _check_names(text: str, line: int) -> Iterator[TemplateProblem]:
    for match in _VARIABLE.finditer(text):
        name = match[1].strip()
        if name not in _KNOWN:
            near = get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(_KNOWN)}"
            yield TemplateProblem(line + text[: match.start()].count("\n"), f"unknown variable '{name[:64]}': {hint}")
    rest = _VARIABLE.sub("", text)
    if "{{" in rest:
        yield TemplateProblem(line + text[: text.rfind("{{")].count("\n"), "'{{' without '}}'")


def _not_set(name: str) -> str:
    return f"{{{{{name}}}}} has no value: set {OPERATOR_VARIABLES[name]}"


#: A problem, and whether it is a missing setting only.
_Finding = tuple[TemplateProblem, bool]


def _check_relay(element: Element, given: Mapping[str, str]) -> Iterator[_Finding]:
    url = element.get("url")
    if url is None:
        yield TemplateProblem(element.line, "<ConversationRelay> needs a url"), False
        return
    missing = [name for name in _names(url.value) if name in OPERATOR_VARIABLES and not given.get(name)]
    if missing:
        yield from ((TemplateProblem(url.line, _not_set(name)), True) for name in missing)
    elif not _fill(url.value, given, str).startswith("wss://"):
        yield TemplateProblem(url.line, "the url of <ConversationRelay> must begin with wss://"), False


def _check_queue(element: Element, given: Mapping[str, str]) -> Iterator[_Finding]:
    workflow = element.get("workflowSid")
    has_name = any(isinstance(child, Text) and child.value.strip() for child in element.children)
    tasks = [child for child in element.children if isinstance(child, Element)]
    if workflow is None and (tasks or not has_name):
        yield (
            TemplateProblem(element.line, "<Enqueue> needs a workflowSid, or the name of a queue and no <Task>"),
            False,
        )
    elif workflow is not None and not has_name:
        missing = [name for name in _names(workflow.value) if name in OPERATOR_VARIABLES and not given.get(name)]
        yield from ((TemplateProblem(workflow.line, _not_set(name)), True) for name in missing)


def _check_task(element: Element, _: Mapping[str, str]) -> Iterator[_Finding]:
    text = "".join(child.value for child in element.children if isinstance(child, Text))
    try:
        attributes = json.loads(_VARIABLE.sub("x", text))
    except ValueError as error:
        attributes, reason = None, f": {error}"
    else:
        reason = ""
    if not isinstance(attributes, dict):
        text = "the attributes of a <Task> must be a JSON object, with variables in quotes"
        yield TemplateProblem(element.line, f"{text}{reason}"), False


_CHECKS: Final[dict[str, tuple[Callable[[Element, Mapping[str, str]], Iterator[_Finding]], ...]]] = {
    "ConversationRelay": (_check_relay,),
    "Enqueue": (_check_queue,),
    "Task": (_check_task,),
}


def _names(text: str) -> list[str]:
    return [match.strip() for match in _VARIABLE.findall(text)]


def _fill(text: str, values: Mapping[str, str], quote: Callable[[str], str]) -> str:
    """Replace the variables of a text by their quoted values."""
    return _VARIABLE.sub(lambda match: quote(values.get(match[1].strip(), "")[:MAX_VALUE]), text)


def _write(element: Element, values: Mapping[str, str], *, is_json: bool = False) -> Iterator[str]:
    filled = {one.name: _fill(one.value, values, str) for one in element.attributes if not _is_left_out(one, values)}
    if filled.get(CONVERSATION_ID):
        filled.pop(CONFIGURATION, None)
    attributes = "".join(f' {name}="{_in_attribute(value)}"' for name, value in filled.items())
    children = [child for child in element.children if _belongs(child, element, filled)]
    if not children:
        yield f"<{element.name}{attributes}/>"
        return
    yield f"<{element.name}{attributes}>"
    is_mixed = len(children) > 1
    for child in children:
        if isinstance(child, Element):
            yield from _write(child, values, is_json=child.name == "Task")
        else:
            text = _in_text(_fill(child.value, values, _in_json if is_json else str))
            yield text if is_mixed else text.strip()
    yield f"</{element.name}>"


def _belongs(child: Element | Text, parent: Element, attributes: Mapping[str, str]) -> bool:
    """Return whether a child is written: white space is not, and <Enqueue> keeps only the children of its variant."""
    if isinstance(child, Text) and not child.value.strip():
        return False
    if parent.name != "Enqueue":
        return True
    return isinstance(child, Element) == bool(attributes.get("workflowSid"))


def _is_left_out(attribute: Attribute, values: Mapping[str, str]) -> bool:
    return "{{" in attribute.value and not _fill(attribute.value, values, str)


def _in_attribute(value: str) -> str:
    return _in_text(value, {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def _in_text(value: str, entities: dict[str, str] | None = None) -> str:
    return escape(_NOT_XML.sub("", value), entities or {"\r": "&#13;"})


def _in_json(value: str) -> str:
    """Escape a value for the inside of a JSON string."""
    return json.dumps(value)[1:-1]
