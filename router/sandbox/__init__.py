"""The sandbox: an offline Conversations API to develop against, in memory and in one process.

`create_app` makes an aiohttp application, `serve` runs one. It has two halves, v2 and classic (version 1), on shared
parts. Where the sources about the live API are silent or disagree, a switch of `SandboxOptions` decides; what only
Twilio can cause goes through the admin API (see admin). It connects to nothing but the URLs of its webhooks.
"""

from router.sandbox.app import create_app, serve
from router.sandbox.options import DEFAULT_CONFIGURATION_ID, SandboxOptions

__all__ = ["DEFAULT_CONFIGURATION_ID", "SandboxOptions", "create_app", "serve"]
