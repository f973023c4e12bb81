"""Voice templates: omitted parts, escaping, and every mistake that stops the start."""

import json
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import TemplateError
from router.core.keys import Target
from router.core.voice.templates import CALL_VARIABLES, OPERATOR_VARIABLES, REJECTING, read_templates
from router.settings.model import Settings, variable_of
from tests.support.source import SHIPPED

TEMPLATES = {path.name: path.read_bytes() for path in (SHIPPED / "voice").glob("*.xml")}
RELAY, WORKFLOW = "wss://agent.example.com/relay", "WW" + "0" * 32
QUEUE = {"queue": "callers"}
ALL = QUEUE | {"relay_url": RELAY, "workflow_sid": WORKFLOW}
CALL = {
    "call_sid": "CA1",
    "from": "+14155550101",
    "to": "+15557650001",
    "account_id": "AC1",
    "configuration_id": "conv_configuration_1",
    "target": "ai-agent",
    "reason": "default",
    "voice_url": "https://hooks.example.com/webhooks/voice",
}
IGNORE = "<Response><Reject/></Response>"
PEOPLE = "<Response><Enqueue>{{queue}}</Enqueue></Response>"


def load(ai_agent=IGNORE, human_agent=PEOPLE, ignore=IGNORE, given=QUEUE, **files):
    """Return templates of these texts; None leaves one out."""
    texts = {"ai-agent.xml": ai_agent, "human-agent.xml": human_agent, "ignore.xml": ignore} | files
    return read_templates({name: text.encode() for name, text in texts.items() if text is not None}, given)


def problems(**texts):
    with pytest.raises(TemplateError) as caught:
        load(**texts)
    return caught.value.problems


def answer(templates, target=Target.AI_AGENT, **values):
    return ET.fromstring(templates.answer(target, CALL | values))


# --- the shipped ones -----------------------------------------------------------------------------


def test_shipped_templates_start_out_of_the_box():
    """Without settings people take all calls, in a queue; a note names what the AI agent lacks."""
    templates = read_templates(TEMPLATES, QUEUE)
    (note,) = templates.notes
    assert note == (
        "people take the AI agent's calls; ROUTER_VOICE_RELAY_URL would change that ({{relay_url}} on line 13 of "
        "voice/ai-agent.xml)"
    )
    for target in Target:
        root = answer(templates, target)
        assert [one.tag for one in root] == ["Start", "Enqueue"]
        assert root.find("Enqueue").text == "callers"
        assert not root.find("Enqueue").attrib
    assert [one.tag for one in answer(templates, None)] == ["Reject"]


def test_shipped_ai_agent():
    """With a relay the AI agent takes the call, in a conversation of the configuration."""
    templates = read_templates(TEMPLATES, QUEUE | {"relay_url": RELAY})
    assert templates.notes == ()
    connect = answer(templates).find("Connect")
    assert connect.attrib == {"action": CALL["voice_url"]}
    relay = connect.find("ConversationRelay")
    assert relay.attrib == {"url": RELAY, "conversationConfiguration": "conv_configuration_1"}
    assert templates.attaching == frozenset(Target)
    assert templates.wants(Target.AI_AGENT, "conversation_id")


def test_shipped_human_agent_with_a_workflow():
    """With a workflow TaskRouter gets the call with its attributes, and no queue's name."""
    asking = {"team_queue": "invoices", "skills": "billing,german", "priority": "5", "summary": 'paid "twice"'}
    templates = read_templates(TEMPLATES, ALL)
    enqueue = answer(templates, Target.HUMAN_AGENT, handoff_data='{"a":"b"}', **asking).find("Enqueue")
    assert enqueue.attrib == {"workflowSid": WORKFLOW}
    assert enqueue.text is None
    task = json.loads(enqueue.find("Task").text)
    assert task == {
        "call_sid": "CA1",
        "from": "+14155550101",
        "to": "+15557650001",
        "conversation_id": "",
        "reason": "default",
        "queue": "invoices",
        "skills": "billing,german",
        "priority": "5",
        "summary": 'paid "twice"',
        "handoff_data": '{"a":"b"}',
    }


@pytest.mark.parametrize("target", Target)
def test_a_known_conversation_is_named_instead_of_the_configuration(target):
    """Twilio takes either attribute: the conversation's id if it is known."""
    root = answer(read_templates(TEMPLATES, ALL), target, conversation_id="conv_conversation_1")
    (attached,) = [one for one in root.iter() if one.tag in {"ConversationRelay", "Transcription"}]
    assert attached.get("conversationId") == "conv_conversation_1"
    assert "conversationConfiguration" not in attached.attrib


# --- values ---------------------------------------------------------------------------------------

EVERYWHERE = """<Response><Say voice="{{from}}">a {{from}} b</Say>
<Enqueue workflowSid="W"><Task>{"x": "{{from}}"}</Task></Enqueue></Response>"""


@given(st.text(max_size=50))
def test_values_are_escaped_for_their_place(value):
    """With any value the document is well-formed and contains it, except for what XML cannot contain."""
    root = answer(load(EVERYWHERE), **{"from": value})
    shown = "".join(one for one in value if one in "\t\n\r" or (one >= " " and one not in "\ufffe\uffff"))
    say = root.find("Say")
    assert say.get("voice", "") == shown
    assert say.text == f"a {shown} b".strip()
    assert json.loads(root.find("Enqueue/Task").text) == {"x": value}


def test_long_values_are_cut():
    """Long values are cut, so that an answer is bounded."""
    assert len(load(EVERYWHERE).answer(Target.AI_AGENT, {"from": "1" * 1_000_000})) < 20_000


def test_values_are_not_templates():
    """Braces in a value are text: a caller's name cannot read another variable."""
    say = answer(load("<Response><Say>{{from}}</Say></Response>"), **{"from": "{{account_id}}"}).find("Say")
    assert say.text == "{{account_id}}"


def test_an_attribute_of_empty_variables_is_left_out():
    """An attribute is left out only if it consists of empty variables."""
    text = '<Response><Say voice="{{conversation_id}}" loop="{{conversation_id}}1" language="">a</Say></Response>'
    assert answer(load(text)).find("Say").attrib == {"loop": "1", "language": ""}


def test_rejecting():
    """Without templates every call is rejected, for any target."""
    for target in (*Target, None):
        assert [one.tag for one in answer(REJECTING, target)] == ["Reject"]
    assert REJECTING.attaching == frozenset()
    assert REJECTING.notes


# --- what stops the start -------------------------------------------------------------------------


def test_all_problems_are_reported_at_once():
    """One start reports every mistake in all files, each with file and line."""
    found = problems(
        ai_agent="<Response>\n<Conect/>\n<Say>{{frm}}</Say></Response>",
        human_agent="<Response>",
        ignore=None,
        **{"ai_agent.xml": IGNORE},
    )
    assert [one.partition(": ")[0] for one in found] == [
        "voice/ai_agent.xml",
        "voice/ai-agent.xml:2",
        "voice/ai-agent.xml:3",
        "voice/human-agent.xml:1",
        "voice/ignore.xml",
    ]
    assert "did you mean 'from'?" in found[2]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("<Response><Say>\n\n{{nope_nope}}</Say></Response>", 3, "unknown variable 'nope_nope': known: call_sid"),
        ('<Response><Say\nvoice="{{ reasn }}">a</Say></Response>', 2, "did you mean 'reason'?"),
        ("<Response><Say>\n{{from</Say></Response>", 2, "'{{' without '}}'"),
        ("<Response><Dial>\n{{workflow_sid}}</Dial></Response>", 1, "set ROUTER_VOICE_WORKFLOW_SID"),
        ('<Response><Enqueue\nworkflowSid="{{workflow_sid}}"/></Response>', 2, "set ROUTER_VOICE_WORKFLOW_SID"),
        ("<Response><Enqueue/></Response>", 1, "needs a workflowSid, or the name of a queue"),
        ("<Response><Enqueue>q<Task>{}</Task></Enqueue></Response>", 1, "needs a workflowSid"),
        ('<Response><Enqueue workflowSid="W"><Task>{</Task></Enqueue></Response>', 1, "JSON object"),
        ('<Response><Enqueue workflowSid="W"><Task>[1]</Task></Enqueue></Response>', 1, "JSON object"),
        ('<Response><Enqueue workflowSid="W"><Task>{"a": {{from}}}</Task></Enqueue></Response>', 1, "in quotes"),
        ("<Response><Connect><ConversationRelay/></Connect></Response>", 1, "needs a url"),
        ('<Response><Connect><ConversationRelay url="ws://a"/></Connect></Response>', 1, "begin with wss://"),
        ('<Response><Connect><ConversationRelay url="{{from}}"/></Connect></Response>', 1, "begin with wss://"),
        (
            '<Response><Connect><ConversationRelay url="{{relay_url}}"/></Connect></Response>',
            1,
            "ROUTER_VOICE_RELAY_URL",
        ),
    ],
)
def test_one_problem(text, line, words):
    """Mistakes that would cost calls are found at the start, with line and, if one is missing, setting."""
    (found,) = problems(human_agent=text)
    assert found.startswith(f"voice/human-agent.xml:{line}: ")
    assert words in found


def test_a_setting_that_no_template_uses_is_noted():
    """A set variable that no template uses is noted."""
    (note,) = load(given=QUEUE | {"workflow_sid": WORKFLOW}).notes
    assert note == "ROUTER_VOICE_WORKFLOW_SID is set, but no voice template uses {{workflow_sid}}"


def test_which_templates_attach_calls():
    """Only a template that names configuration or conversation puts calls into one."""
    assert load().attaching == frozenset()
    text = "<Response><Start><Transcription conversationConfiguration='c'/></Start></Response>"
    assert load(ai_agent=text).attaching == {Target.AI_AGENT}


DIAL = "<Response><Dial>{{to}}</Dial></Response>"
ATTACHED = "<Response><Start><Transcription conversationConfiguration='c'/></Start></Response>"


def first_verb(templates, target, queue):
    return ET.fromstring(templates.answer(target, CALL | QUEUE, queue))[0].tag


def test_a_template_of_a_queue():
    """Calls of the queue get it, and all others of people the general one."""
    templates = load(**{"human-agent.invoices.xml": DIAL})
    assert templates.queues == ("invoices",)
    assert [first_verb(templates, Target.HUMAN_AGENT, queue) for queue in ("invoices", "default", "")] == [
        "Dial",
        "Enqueue",
        "Enqueue",
    ]
    assert first_verb(templates, Target.AI_AGENT, "invoices") == "Reject"
    assert first_verb(templates, None, "invoices") == "Reject"
    assert templates.wants(Target.HUMAN_AGENT, "to", "invoices")
    assert not templates.wants(Target.HUMAN_AGENT, "to")


def test_calls_of_an_ai_agent_without_a_telephone_follow_the_queue():
    """People take them, so the template of their queue does too."""
    relay = '<Response><Connect><ConversationRelay url="{{relay_url}}"/></Connect></Response>'
    templates = load(relay, **{"human-agent.default.xml": DIAL})
    assert first_verb(templates, Target.AI_AGENT, "default") == "Dial"


def test_a_target_attaches_if_all_its_templates_do():
    """A call that a queue's template leaves out of conversations is no mistake, so it is not awaited for ever."""
    assert load(human_agent=ATTACHED, **{"human-agent.a.xml": ATTACHED}).attaching == {Target.HUMAN_AGENT}
    assert load(ai_agent=ATTACHED, human_agent=ATTACHED, **{"human-agent.a.xml": DIAL}).attaching == {Target.AI_AGENT}


@pytest.mark.parametrize("name", ["human-agent.", "human-agents.a", "ai-agent.a", "ignore.a", "Human-agent.a"])
def test_a_file_that_is_no_template(name):
    """Only people have queues; the problem names what there may be."""
    (found,) = problems(**{f"{name}.xml": DIAL})
    assert found.startswith(f"voice/{name}.xml: unknown template")
    assert "human-agent.<queue>.xml" in found


def test_a_mistake_in_the_template_of_a_queue():
    """It stops the start as others do."""
    (found,) = problems(**{"human-agent.a.xml": "<Response>\n<Dail/></Response>"})
    assert found.startswith("voice/human-agent.a.xml:2: ")


def test_operator_variables_are_settings():
    """Each of the operator's variables names an existing setting and gets its value."""
    settings = Settings(voice_relay_url=RELAY, voice_workflow_sid=WORKFLOW, voice_queue="q")
    assert settings.voice_variables.keys() == OPERATOR_VARIABLES.keys()
    assert set(OPERATOR_VARIABLES.values()) <= {variable_of(name) for name in Settings.model_fields}
    assert not CALL_VARIABLES.keys() & OPERATOR_VARIABLES.keys()


def test_the_first_template_lists_every_variable():
    """The comment of ai-agent.xml lists all variables."""
    text = TEMPLATES["ai-agent.xml"].decode()
    assert all(name in text for name in (*CALL_VARIABLES, *OPERATOR_VARIABLES, *OPERATOR_VARIABLES.values()))
