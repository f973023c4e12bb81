"""The client of Twilio's Conversations API: transport, repeats, limits, and the operations of version 2.

It imports aiohttp and the pure core, and is driven by the worker, the handlers and the operator's commands.
Raises nothing but the ApiError family of core.errors for whatever the API or the network does.
"""

from router.conversations.answers import ApiResponse
from router.conversations.bodies import UNSET
from router.conversations.limiter import Limiter
from router.conversations.transport import CallDetails, Transport
from router.conversations.v1 import ClassicConversations
from router.conversations.v2 import ConversationsV2

__all__ = ["UNSET", "ApiResponse", "CallDetails", "ClassicConversations", "ConversationsV2", "Limiter", "Transport"]
