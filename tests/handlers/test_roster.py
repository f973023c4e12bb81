"""The roster file: read as a whole, every problem named with its file."""

from __future__ import annotations

import pytest

from handlers.roster import Agent, AssignedAgent, Roster, load_roster, read_roster
from router.core.addresses import Address
from router.core.errors import SettingsError
from router.settings.load import load

GOOD = """
[[agent]]
identity = "dana"
name = "Dana"
capacity = 2
addresses = { SMS = "+15557650002" }

[[agent]]
identity = "eli"
name = "Eli"
capacity = 1
"""


def test_people_are_read_in_the_order_of_the_file():
    """Identity, name, capacity and addresses are kept."""
    assert read_roster(GOOD, "roster.toml") == Roster(
        (Agent("dana", "Dana", 2, {"SMS": "+15557650002"}), Agent("eli", "Eli", 1))
    )


def test_the_shipped_roster_is_valid():
    """It can be used as it is."""
    assert [one.identity for one in load_roster(load(environment={}).config_dir).agents] == ["dana", "eli"]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        pytest.param("", ["no [[agent]]: nobody could take a participant"], id="empty"),
        pytest.param("agent = 5", ["no [[agent]]: nobody could take a participant"], id="no table"),
        pytest.param("agent = [5]", ["agent 1: it: "], id="an agent that is no table"),
        pytest.param("x = [", ["Invalid value"], id="no TOML"),
        pytest.param(f"agents = 1\n{GOOD}", ["unknown key 'agents'"], id="unknown key at the top"),
        pytest.param(GOOD.replace("capacity = 2", "capacity = 0"), ["agent 1: capacity: must be 1"], id="capacity 0"),
        pytest.param(GOOD.replace("capacity = 2", 'capacity = "2"'), ["agent 1: capacity: "], id="capacity as text"),
        pytest.param(GOOD.replace("capacity = 1", "capaciti = 1"), ["capacity: is missing", "capaciti: no"], id="key"),
        pytest.param(GOOD.replace("eli", "dana"), ["identity 'dana' is used 2 times"], id="duplicate"),
        pytest.param(GOOD.replace('"eli"', '""'), ["agent 2: identity: "], id="empty identity"),
        pytest.param(GOOD.replace('"eli"', '"e li"'), ["agent 2: identity: "], id="identity with a space"),
        pytest.param(GOOD.replace("SMS =", "FAX ="), ["addresses.FAX: is not a channel ("], id="channel"),
        pytest.param(GOOD.replace("+15557650002", " "), ["agent 1: addresses.SMS: is empty"], id="empty address"),
        pytest.param(
            GOOD.replace("eli", "dana").replace("capacity = 1", "capacity = -1").replace('"Dana"', "7"),
            ["agent 1: name: ", "agent 2: capacity: must be 1 or more", "identity 'dana' is used 2 times"],
            id="several at once",
        ),
    ],
)
def test_an_invalid_roster_lists_every_problem(text, problems):
    """All problems are reported at once, each beginning with the file."""
    with pytest.raises(SettingsError) as caught:
        read_roster(text, "config/roster.toml")
    found = caught.value.problems
    assert len(found) == len(problems)
    for line, expected in zip(found, problems, strict=True):
        assert line.startswith("config/roster.toml: ")
        assert expected in line


def test_a_missing_file_is_named(tmp_path):
    """Without a roster the start is refused."""
    with pytest.raises(SettingsError, match=r"roster\.toml"):
        load_roster(tmp_path)


def test_a_person_joins_at_their_address_or_under_their_identity():
    """The address on the customer's channel comes first; on other channels there is only the identity."""
    agent = AssignedAgent.of(Agent("dana", "Dana", 2, {"SMS": "+15557650002"}))
    assert agent == AssignedAgent(identity="dana", name="Dana", addresses={"SMS": "+15557650002"})
    assert agent.addresses_on("SMS") == (Address("SMS", "+15557650002"), Address("CHAT", "dana"))
    assert agent.addresses_on("WHATSAPP") == (Address("CHAT", "dana"),)
