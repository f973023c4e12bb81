"""The client of Twilio's Conversations API: transport, retries, limits, and the operations of v2 and classic v1.

It imports aiohttp and the pure core. The worker, the handlers and the commands use it. Whatever the API or the network
does, it raises only the ApiError family of core.errors.
"""

from router.conversations.bodies import UNSET
from router.conversations.limiter import Limiter
from router.conversations.responses import ApiResponse
from router.conversations.transport import CallDetails, Transport
from router.conversations.v1 import ClassicConversations
from router.conversations.v2 import ConversationsV2

__all__ = ["UNSET", "ApiResponse", "CallDetails", "ClassicConversations", "ConversationsV2", "Limiter", "Transport"]
