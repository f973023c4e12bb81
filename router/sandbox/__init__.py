"""The sandbox: an offline Conversations API v2 to develop against, in memory and in one process.

`create_app` gives an aiohttp application, `serve` runs one. What the live API does where sources are silent or
disagree is a switch of `SandboxOptions`; what no client can cause is done through the admin API (see admin). It
sends nothing to anybody but the status callbacks that a configuration names.
"""

from router.sandbox.app import create_app
from router.sandbox.options import DEFAULT_CONFIGURATION_ID, SandboxOptions
from router.sandbox.server import serve

__all__ = ["DEFAULT_CONFIGURATION_ID", "SandboxOptions", "create_app", "serve"]
