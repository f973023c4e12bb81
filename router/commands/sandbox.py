"""`python -m router sandbox`: the offline Conversations API as a process of its own, to develop against."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from pydantic import ValidationError

from router.core.errors import SettingsError
from router.process.loop import until_stopped_or
from router.process.terminal import complain, show
from router.sandbox import DEFAULT_CONFIGURATION_ID, SandboxOptions, serve
from router.settings.load import load

if TYPE_CHECKING:
    import argparse

    from router.settings.model import Settings

#: Credentials of a sandbox for which none are set; nothing else accepts them.
ACCOUNT_SID = "AC5a2d0000000000000000000000000000"
AUTH_TOKEN = "sandbox-auth-token"  # noqa: S105 - of the sandbox only
API_KEY = "SK5a2d0000000000000000000000000000"
API_SECRET = "sandbox-api-secret"  # noqa: S105 - of the sandbox only


async def run_sandbox(arguments: argparse.Namespace) -> int:
    """Serve a sandbox until SIGTERM or SIGINT; raises SettingsError for a wrong setting or switch."""
    options = make_options(
        load(), callback_url=arguments.callback_url, grouping=arguments.grouping, switches=arguments.switches
    )
    host, port = arguments.host, arguments.port

    def on_ready(url: str) -> None:
        show(
            f"sandbox of the Conversations API: {url}",
            f"TWILIO_ACCOUNT_SID={options.account_sid}",
            f"TWILIO_CONVERSATIONS_URL={url}",
        )

    try:
        await until_stopped_or(serve(options, host, port, memory=arguments.memory, on_ready=on_ready))
    except OSError as error:
        complain(f"the sandbox cannot listen on {host}:{port}: {error} (choose another --port)")
        return 1
    return 0


def make_options(settings: Settings, *, callback_url: str | None, grouping: str, switches: list[str]) -> SandboxOptions:
    """Return the options of a sandbox from the settings; raises SettingsError for an unknown switch or wrong value."""
    configuration = {
        "id": settings.twilio_conversation_configuration_id or DEFAULT_CONFIGURATION_ID,
        "displayName": "sandbox",
        "description": "The configuration of the sandbox",
        "conversationGroupingType": grouping,
        "channelSettings": {},
        "statusCallbacks": [{"url": callback_url, "method": "POST"}] if callback_url else [],
    }
    key, secret = settings.twilio_api_key, settings.twilio_api_secret
    values: dict[str, Any] = {}
    if settings.twilio_classic_service_sid:
        values["classic_service_sid"] = settings.twilio_classic_service_sid
    values |= {name: _value(text) for name, _, text in (switch.partition("=") for switch in switches)}
    try:
        return SandboxOptions(
            account_sid=settings.twilio_account_sid or ACCOUNT_SID,
            auth_token=settings.auth_tokens[0] if settings.auth_tokens else AUTH_TOKEN,
            api_key=key.get_secret_value() if key else API_KEY,
            api_secret=secret.get_secret_value() if secret else API_SECRET,
            configurations=(configuration,),
            **values,
        )
    except ValidationError as error:
        problems = [f"--set {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise SettingsError(problems) from error


def _value(text: str) -> Any:
    """Return the value of a switch: the JSON in `text` (400, true, {"a": "b"}), or `text` if it is not JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
