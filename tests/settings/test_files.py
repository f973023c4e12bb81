"""What the operator wrote into the configuration folder, as the processes read it."""

import pytest

from router.core.errors import PolicyError, TemplateError
from router.core.keys import Target
from router.core.voice.templates import NAMES, REJECTING
from router.settings.files import load_policy, load_voice
from router.settings.load import load
from router.settings.model import Settings


def test_the_shipped_folder_is_right():
    """What the project ships starts without a setting."""
    settings = load(environment={})
    assert load_policy(settings).default is Target.AI_AGENT
    assert load_voice(settings).attaching == frozenset(Target)


def test_settings_reach_the_templates():
    """The relay of the environment is the one that calls are connected to."""
    settings = load(environment={"ROUTER_VOICE_RELAY_URL": "wss://agent.example.com/relay"})
    assert b'url="wss://agent.example.com/relay"' in load_voice(settings).answer(Target.AI_AGENT, {})


def test_no_folder_is_no_voice(tmp_path):
    """Whoever takes no calls needs no templates."""
    assert load_voice(Settings(config_dir=tmp_path)) is REJECTING


def test_problems_name_the_file(tmp_path):
    """Whatever is wrong, the message begins with the file as it was looked for."""
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


def test_a_template_that_cannot_be_read(tmp_path):
    """A folder in the place of a file is a problem with its name, not a crash."""
    (tmp_path / "voice" / "ignore.xml").mkdir(parents=True)
    with pytest.raises(TemplateError, match=r"ignore\.xml"):
        load_voice(Settings(config_dir=tmp_path))
