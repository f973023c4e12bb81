"""What `dead-letters list` tells of an entry that a consumer gave up."""

import pytest

from router.__main__ import make_parser
from router.commands.dead_letters import list_dead_letters
from router.core.entries import CommunicationData
from router.core.keys import Keys
from router.core.resources import Participant, ParticipantAddress
from tests.handlers.harness import make
from tests.support.accounts import CUSTOMER
from tests.support.entries import fields_of

pytestmark = pytest.mark.real


@pytest.mark.parametrize("unmasked", [False, True])
async def test_a_letter_names_conversation_customer_and_message(environment, redis, capsys, unmasked):
    """An operator sees whom nobody has answered; the address only if asked for."""
    address = ParticipantAddress(channel="SMS", address=CUSTOMER)
    customer = Participant(id="conv_participant_1", type="CUSTOMER", addresses=(address,))
    entry = make(CommunicationData, "conv_conversation_1", customer)
    letter = {"dead-stream": Keys().participants(0, "ai-agent"), "dead-entry": "1-0", "dead-group": "ai-agent"}
    letter |= {"dead-reason": "ValueError", "dead-deliveries": "5", "dead-failed-at": "now"}
    await redis.xadd(Keys().dead_letters(0), fields_of(entry) | letter)
    flags = ["--unmasked"] if unmasked else []
    await list_dead_letters(make_parser().parse_args(["dead-letters", "list", *flags]))
    printed = capsys.readouterr().out
    assert "conversation conv_conversation_1  customer conv_participant_1  address SMS " in printed
    assert (CUSTOMER in printed) == unmasked
