"""Conversations (classic), version 1: participants, messages, conversations, and the lookup by participant.

Every method uses the default service, or the one of `service_sid`; a conversation is named by its SID or unique name.
No policy: the caller decides what a refusal means, with `is_already_there` and `is_bound_elsewhere` of core.classic. A
POST that may have had an effect (ServerError, TransportError) is never repeated here: list the participants, or create
again and treat `is_already_there` as success.
https://www.twilio.com/docs/conversations-classic/api/conversation-participant-resource
https://www.twilio.com/docs/conversations-classic/api/participant-conversation-resource
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from router.conversations.bodies import to_form
from router.conversations.paging import Listing
from router.conversations.responses import to_model
from router.conversations.v1_errors import classic_errors
from router.conversations.v1_paging import LOOKUP_PAGE_SIZES, PAGE_SIZES, ItemT, iterate_links
from router.core.classic.resources import (
    ClassicConversation,
    ClassicMessage,
    ClassicParticipant,
    ClassicResource,
    ParticipantConversation,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from router.conversations.responses import ApiResponse
    from router.conversations.transport import Transport
    from router.core.addresses import Address
    from router.core.classic.resources import ClassicChange, NewClassicParticipant

_SERVICE: Final = "/v1/Services/{service_sid}"
_CONVERSATION: Final = "/Conversations/{conversation}"
_PARTICIPANTS: Final = f"{_CONVERSATION}/Participants"
_PARTICIPANT: Final = f"{_PARTICIPANTS}/{{participant}}"
_MESSAGES: Final = f"{_CONVERSATION}/Messages"
_LOOKUP: Final = "/ParticipantConversations"
_WEBHOOKS: Final = "X-Twilio-Webhook-Enabled"

_ResourceT = TypeVar("_ResourceT", bound=ClassicResource)


class ClassicConversations:
    """The operations, over one Transport that the caller owns and closes.

    Every method raises the ApiError of the HTTP status (core.errors), ServerError for an unreadable response, and
    UnavailableError after a concurrent change of the same resource: nothing was done, try again. `webhooks` True
    requests the webhooks about a write, which the API does not send by default.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create_participant(
        self,
        conversation: str,
        participant: NewClassicParticipant,
        *,
        service_sid: str | None = None,
        webhooks: bool | None = None,
    ) -> ClassicParticipant:
        """Add a member.

        Raises ConflictError with `code` 50433 or 50437 if it is a member already (`is_already_there`), and 50416 if its
        pair of addresses is bound in the conversation `conflicting_id` (`is_bound_elsewhere`).
        """
        ids = {"conversation": conversation}
        form = to_form(participant)
        return await self._post(ClassicParticipant, _PARTICIPANTS, ids, form, service_sid, webhooks)

    async def list_participants(
        self, conversation: str, *, service_sid: str | None = None, page_size: int = 100
    ) -> list[ClassicParticipant]:
        """Return all members, whatever the number of pages. Raises ValueError for a page size outside 1 to 100."""
        _check(page_size, PAGE_SIZES)
        query, ids = {"PageSize": str(page_size)}, {"conversation": conversation}
        found = self._iterate(ClassicParticipant, "participants", _PARTICIPANTS, ids, query, service_sid)
        return [each async for each in found]

    async def fetch_participant(
        self, conversation: str, participant: str, *, service_sid: str | None = None
    ) -> ClassicParticipant:
        """Return one member by SID, or a chat user by identity."""
        ids = {"conversation": conversation, "participant": participant}
        return await self._fetch(ClassicParticipant, _PARTICIPANT, ids, service_sid)

    async def update_participant(
        self,
        conversation: str,
        participant: str,
        change: ClassicChange,
        *,
        service_sid: str | None = None,
        webhooks: bool | None = None,
    ) -> ClassicParticipant:
        """Change the given fields of a member and keep the rest."""
        ids = {"conversation": conversation, "participant": participant}
        return await self._post(ClassicParticipant, _PARTICIPANT, ids, to_form(change), service_sid, webhooks)

    async def delete_participant(
        self,
        conversation: str,
        participant: str,
        *,
        service_sid: str | None = None,
        webhooks: bool | None = None,
    ) -> None:
        """Remove a member, which frees its pair of addresses.

        The request is repeated even if it may have had an effect, so NotFoundError may also mean that an earlier
        attempt removed the member.
        """
        path, ids = _locate(_PARTICIPANT, {"conversation": conversation, "participant": participant}, service_sid)
        headers = _webhook_header(webhooks)
        with classic_errors():
            await self._transport.request("DELETE", path, ids=ids, headers=headers, is_repeatable=True)

    def find_conversations(
        self,
        *,
        address: str | None = None,
        identity: str | None = None,
        proxy: Address | None = None,
        states: Collection[str] | None = None,
        service_sid: str | None = None,
        page_size: int = 50,
        limit: int | None = None,
    ) -> AsyncIterator[ParticipantConversation]:
        """Yield the conversations with a member of this `address` or `identity`, in order of their SID.

        The API matches exactly and has no filters: `states`, and `proxy` by canonical address, are compared here. A
        result may be outdated at once, so a lookup before a create is no lock.
        Raises ValueError, before anything is sent, for both or none of address and identity.
        """
        if bool(address) == bool(identity):
            raise ValueError("a lookup needs either an address or an identity")
        _check(page_size, LOOKUP_PAGE_SIZES)

        def accepts(found: ParticipantConversation) -> bool:
            is_wanted = states is None or found.conversation_state in states
            return is_wanted and (proxy is None or found.has_proxy(proxy))

        member = {"Address": address} if address else {"Identity": identity or ""}
        query = member | {"PageSize": str(page_size)}
        return self._iterate(ParticipantConversation, "conversations", _LOOKUP, {}, query, service_sid, limit, accepts)

    async def create_message(
        self,
        conversation: str,
        *,
        author: str,
        body: str,
        service_sid: str | None = None,
        webhooks: bool | None = None,
    ) -> ClassicMessage:
        """Write a message as `author`, an identity; the API sends it to all other members."""
        form, ids = {"Author": author, "Body": body}, {"conversation": conversation}
        return await self._post(ClassicMessage, _MESSAGES, ids, form, service_sid, webhooks)

    def list_messages(
        self,
        conversation: str,
        *,
        newest_first: bool = True,
        service_sid: str | None = None,
        page_size: int = 50,
        limit: int | None = None,
    ) -> AsyncIterator[ClassicMessage]:
        """Yield the messages of a conversation. Raises ValueError for a page size outside 1 to 100."""
        _check(page_size, PAGE_SIZES)
        query = {"Order": "desc" if newest_first else "asc", "PageSize": str(page_size)}
        ids = {"conversation": conversation}
        return self._iterate(ClassicMessage, "messages", _MESSAGES, ids, query, service_sid, limit)

    async def fetch_conversation(self, conversation: str, *, service_sid: str | None = None) -> ClassicConversation:
        """Return one conversation by SID or unique name."""
        return await self._fetch(ClassicConversation, _CONVERSATION, {"conversation": conversation}, service_sid)

    async def close_conversation(self, conversation: str, *, service_sid: str | None = None) -> ClassicConversation:
        """Close a conversation, which is final; closing a closed one changes nothing."""
        ids = {"conversation": conversation}
        return await self._post(ClassicConversation, _CONVERSATION, ids, {"State": "closed"}, service_sid, None)

    async def _post(
        self,
        model: type[_ResourceT],
        path: str,
        ids: Mapping[str, str],
        form: Mapping[str, str],
        service_sid: str | None,
        webhooks: bool | None,  # noqa: FBT001 # as the caller passed it
    ) -> _ResourceT:
        path, ids = _locate(path, ids, service_sid)
        with classic_errors():
            response = await self._transport.request(
                "POST", path, ids=ids, form=form, headers=_webhook_header(webhooks)
            )
        return to_model(model, response.data, route=f"POST {path}", status=response.status)

    async def _fetch(
        self, model: type[_ResourceT], path: str, ids: Mapping[str, str], service_sid: str | None
    ) -> _ResourceT:
        path, ids = _locate(path, ids, service_sid)
        with classic_errors():
            response = await self._transport.request("GET", path, ids=ids)
        return to_model(model, response.data, route=f"GET {path}", status=response.status)

    def _iterate(
        self,
        model: type[ItemT],
        key: str,
        path: str,
        ids: Mapping[str, str],
        query: Mapping[str, str],
        service_sid: str | None,
        limit: int | None = None,
        accepts: Callable[[ItemT], bool] | None = None,
    ) -> AsyncIterator[ItemT]:
        path, ids = _locate(path, ids, service_sid)

        async def fetch(link: str | None) -> ApiResponse:
            with classic_errors():
                return await self._transport.request("GET", path, ids=ids, query=query, link=link)

        return iterate_links(fetch, model, Listing(key, f"GET {path}"), limit=limit, accepts=accepts)


def _locate(path: str, ids: Mapping[str, str], service_sid: str | None) -> tuple[str, dict[str, str]]:
    """Return the path template and ids in the default service or in the given one."""
    if service_sid is None:
        return f"/v1{path}", dict(ids)
    return f"{_SERVICE}{path}", {"service_sid": service_sid, **ids}


def _webhook_header(is_enabled: bool | None) -> dict[str, str]:  # noqa: FBT001 # one value, named by the function
    """Return the header that requests or suppresses webhooks about a write; None leaves it to the API (none)."""
    return {} if is_enabled is None else {_WEBHOOKS: str(is_enabled).lower()}


def _check(page_size: int, allowed: range) -> None:
    if page_size not in allowed:
        raise ValueError(f"a page has {allowed[0]} to {allowed[-1]} items")
