"""Routing policies for tests, as the text of a routing.toml."""

from typing import Final

from tests.support.accounts import DESK

#: Customers go to the AI agent; participants of our own side are ignored.
PLAIN: Final = """
[default]
target = "ai-agent"
[[rule]]
name = "our-side"
participant_type = ["AI_AGENT", "HUMAN_AGENT", "AGENT"]
target = "ignore"
"""
#: A further rule: customers who write to the desk get a human agent.
DESK_RULE: Final = f"""
[[rule]]
name = "service-desk"
recipient = "{DESK}"
target = "human-agent"
"""
EVERYBODY: Final = """
[default]
target = "ai-agent"
"""
NOBODY: Final = """
[default]
target = "ignore"
"""
