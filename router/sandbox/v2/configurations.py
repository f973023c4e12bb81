"""Configurations, and the settings of a conversation.

A conversation's settings are those of its Configuration, with the inline configuration of POST /Conversations in their
place. Conversations without an inline one share the settings, so that 20,000 conversations hold one copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from router.core.resources import Configuration
from router.sandbox.errors import RefusalError, invalid, not_found
from router.sandbox.options import DEFAULT_MEMORY_STORE_ID
from router.sandbox.v2.bodies import CallbackBody, ChannelSettingBody
from router.sandbox.v2.grouping import BY_ADDRESSES_AND_CHANNEL
from router.sandbox.v2.records import Callback, ConfigurationRecord, ConversationSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.sandbox.bodies import Wire
    from router.sandbox.indexes import Timeline
    from router.sandbox.v2.bodies import InlineConfiguration

#: Fields of every configuration, with the values of those that it does not set.
_DEFAULTS: Final[Wire] = {
    "displayName": None,
    "description": "",
    "conversationGroupingType": BY_ADDRESSES_AND_CHANNEL,
    "memoryStoreId": DEFAULT_MEMORY_STORE_ID,
    "channelSettings": {},
    "statusCallbacks": [],
    "intelligenceConfigurationIds": [],
    "memoryExtractionEnabled": False,
    "traitExtractionStrategyIds": [],
    "observationExtractionStrategyIds": [],
    "redactionConfigurationId": None,
    "conversationsV1Bridge": None,
}
#: Fields that are never null: null restores the default. The agent SDK needs the texts.
_TEXTS: Final = frozenset(
    {"description", "memoryStoreId", "channelSettings", "intelligenceConfigurationIds", "memoryExtractionEnabled"}
)
_OWN: Final = frozenset({"id", "createdAt", "updatedAt", "version"})


def load_configuration(given: Configuration | dict[str, Any], moment: int) -> ConfigurationRecord:
    """Return the record of a configuration of the options, created at `moment` (µs).

    Raises ValidationError if it has no id.
    """
    model = given if isinstance(given, Configuration) else Configuration.model_validate(given)
    wire = {name: value for name, value in model.to_wire().items() if name not in _OWN}
    return ConfigurationRecord(model.id, moment, moment, model.version or 1, make_settings(model.id, wire))


def make_settings(configuration_id: str | None, wire: Wire) -> ConversationSettings:
    """Return the settings of a configuration in wire form."""
    full = _DEFAULTS | {name: value for name, value in wire.items() if value is not None or name not in _TEXTS}
    timeouts = {
        channel.upper(): _timeouts(setting) for channel, setting in (full["channelSettings"] or {}).items() if setting
    }
    callbacks = make_callbacks(full["statusCallbacks"] or ())
    full["statusCallbacks"] = [each.to_wire() for each in callbacks]
    return ConversationSettings(configuration_id, full["conversationGroupingType"], timeouts, callbacks, full)


def _timeouts(setting: Wire) -> tuple[int | None, int | None]:
    timeouts = ChannelSettingBody.model_validate(setting).status_timeouts
    return (timeouts.inactive, timeouts.closed) if timeouts else (None, None)


def make_callbacks(given: Iterable[Wire | CallbackBody]) -> tuple[Callback, ...]:
    """Return the callbacks of wire objects or bodies."""
    bodies = (each if isinstance(each, CallbackBody) else CallbackBody.model_validate(each) for each in given)
    return tuple(Callback(each.url, each.method) for each in bodies)


def find_callback_urls(given: Iterable[Configuration | dict[str, Any]]) -> dict[str, str]:
    """Return the URLs of the status callbacks of configurations, each under a name that a later start finds it by."""
    loaded = [load_configuration(one, 0) for one in given]
    return {
        f"{one.id} {place}": callback.url for one in loaded for place, callback in enumerate(one.settings.callbacks)
    }


def settings_for(
    configurations: Timeline[ConfigurationRecord], configuration_id: str | None, inline: InlineConfiguration | None
) -> ConversationSettings:
    """Return the settings of a new conversation.

    Raises RefusalError: 404 for an unknown configuration, 400 for neither a configuration nor an inline one.
    """
    if configuration_id is None:
        if inline is None:
            raise RefusalError(
                400, "configurationId: is required without an inline configuration", field="configurationId"
            )
        for name in ("conversationGroupingType", "memoryStoreId"):
            if name not in _wire(inline):
                raise invalid(f"configuration.{name}", "is required without a configurationId")
        return make_settings(None, _wire(inline))
    record = find_configuration(configurations, configuration_id)
    changes = _wire(inline) if inline else {}
    return make_settings(configuration_id, record.settings.wire | changes) if changes else record.settings


def find_configuration(configurations: Timeline[ConfigurationRecord], configuration_id: str) -> ConfigurationRecord:
    """Return the configuration; raises RefusalError (404)."""
    record = configurations.get(configuration_id)
    if record is None:
        raise not_found("Configuration", configuration_id)
    return record


def find_by_id_or_name(configurations: Timeline[ConfigurationRecord], given: str) -> ConfigurationRecord:
    """Return the configuration with this id or else, as in TwiML, this unique name; raises RefusalError (404)."""
    named = (each for each in configurations if each.settings.wire["displayName"] == given)
    return configurations.get(given) or next(named, None) or find_configuration(configurations, given)


def change_configuration(record: ConfigurationRecord, wire: Wire, moment: int, *, is_replaced: bool = False) -> None:
    """Change the given fields at `moment` (µs), or all if `is_replaced`; pinned conversations keep their settings.

    Raises RefusalError (400) for another grouping type.
    """
    if wire.get("conversationGroupingType", record.settings.grouping) != record.settings.grouping:
        raise RefusalError(400, "conversationGroupingType: cannot be changed", field="conversationGroupingType")
    if "channelSettings" in wire and not is_replaced:  # channel by channel; null removes a channel
        channels = record.settings.wire["channelSettings"] | (wire["channelSettings"] or {})
        channels = {name: setting for name, setting in channels.items() if setting is not None}
        wire = wire | {"channelSettings": channels}
    record.settings = make_settings(record.id, wire if is_replaced else record.settings.wire | wire)
    record.updated_at = moment
    record.version += 1


def _wire(inline: InlineConfiguration) -> Wire:
    return inline.model_dump(mode="json", by_alias=True, exclude_none=True)
