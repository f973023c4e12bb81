"""The configuration folder as the processes read it."""

import pytest

from router.core.errors import PolicyError, TemplateError
from router.core.keys import Target
from router.core.voice.templates import NAMES, REJECTING
from router.settings.files import load_policy, load_voice
from router.settings.load import load
from router.settings.model import Settings


def test_the_shipped_folder_is_valid():
    """The shipped configuration loads without any setting."""
    settings = load(environment={})
    assert load_policy(settings).default is Target.AI_AGENT
    assert load_voice(settings).attaching == frozenset(Target)


def test_settings_reach_the_templates():
    """ROUTER_VOICE_RELAY_URL appears in the AI agent's answer."""
    settings = load(environment={"ROUTER_VOICE_RELAY_URL": "wss://agent.example.com/relay"})
    assert b'url="wss://agent.example.com/relay"' in load_voice(settings).answer(Target.AI_AGENT, {})


def test_without_a_folder_calls_are_rejected(tmp_path):
    """Without voice templates every call is rejected."""
    assert load_voice(Settings(config_dir=tmp_path)) is REJECTING


def test_problems_name_the_file(tmp_path):
    """Every problem begins with the path of its file."""
    (tmp_path / "voice").mkdir()
    for name in NAMES:
        (tmp_path / "voice" / f"{name}.xml").write_bytes(b"<Respons/>")
    settings = Settings(config_dir=tmp_path)
    with pytest.raises(TemplateError) as caught:
        load_voice(settings)
    assert [one.partition(":")[0] for one in caught.value.problems] == [
        str(tmp_path / "voice" / f"{name}.xml") for name in NAMES
    ]
    with pytest.raises(PolicyError, match=r"routing\.toml"):
        load_policy(settings)


def test_an_unreadable_template_is_a_problem(tmp_path):
    """A folder in place of a template is reported by name."""
    (tmp_path / "voice" / "ignore.xml").mkdir(parents=True)
    with pytest.raises(TemplateError, match=r"ignore\.xml"):
        load_voice(Settings(config_dir=tmp_path))
