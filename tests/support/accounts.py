"""The account, credentials and addresses that all tests use; all of them are made up.

A test that needs a second account, token or customer takes the OTHER_ one. Only a value that a test is about (a number
in an unusual notation, an account SID that is malformed) is written out there.
"""

from typing import Final

from router.sandbox import DEFAULT_CONFIGURATION_ID

ACCOUNT: Final = "AC00000000000000000000000000000001"
OTHER_ACCOUNT: Final = "AC00000000000000000000000000000002"
#: Auth tokens: they sign webhooks.
TOKEN: Final = "0123456789abcdef0123456789abcdef"
OTHER_TOKEN: Final = "fedcba9876543210fedcba9876543210"
#: An API key and its secret: they open the Conversations API.
KEY: Final = "SK00000000000000000000000000000001"
SECRET: Final = "made-up-api-secret"

#: The sandbox's own configuration of Conversations v2, and a classic service.
CONFIGURATION: Final = DEFAULT_CONFIGURATION_ID
SERVICE: Final = "IS00000000000000000000000000000001"

#: The public address that webhooks are signed for.
BASE_URL: Final = "https://hooks.example.com"

#: Phone numbers: people who write to us, our own number, the service desk's (people answer it), and the AI agent's.
CUSTOMER: Final = "+15551230001"
OTHER_CUSTOMER: Final = "+15551230002"
OURS: Final = "+15557650000"
DESK: Final = "+15557650002"
AGENT: Final = "+15557650009"

#: Mailboxes: a customer's, and ours.
WRITER: Final = "ana@example.com"
MAILBOX: Final = "support@inbound.example.com"
