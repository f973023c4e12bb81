"""The people: whose address is whose."""

import pytest

from router.core.addresses import Address
from router.core.routing.team import Team, TeamMember

TEAM = Team(
    {
        "dana": TeamMember("dana", "Dana", 1, addresses={"SMS": "+1 555 765 0003", "EMAIL": "Dana@Example.com"}),
        "eli": TeamMember("eli", "Eli", 1, addresses={"SMS": "+15557650002"}),
        "kim": TeamMember("kim", "Kim", 1, addresses={"SMS": "+15557650002"}),
    }
)


@pytest.mark.parametrize(
    ("channel", "value", "agent"),
    [
        pytest.param("CHAT", "kim", "kim", id="identity"),
        pytest.param("CHAT", "Kim", None, id="identities are exact"),
        pytest.param("SMS", "kim", None, id="an identity is no number"),
        pytest.param("SMS", "+15557650003", "dana", id="number"),
        pytest.param("EMAIL", "dana@example.com", "dana", id="mailbox"),
        pytest.param("VOICE", "+15557650003", None, id="another channel"),
        pytest.param("SMS", "+15557650002", None, id="shared"),
        pytest.param("SMS", "+15557650009", None, id="unknown"),
    ],
)
def test_who_joins_at_an_address(channel, value, agent):
    """A person, if it can be nobody else."""
    assert TEAM.agent_at(Address(channel, value)) == agent


def test_who_was_removed_is_called_by_the_identity():
    """What they hold goes on without the file."""
    assert TEAM.member("eli") is TEAM.members["eli"]
    assert TEAM.member("lee") == TeamMember("lee", "lee", 1)
