"""Commands where replicas must confirm what is written (ROUTER_REDIS_WAIT), and none does."""

import pytest

from router.console.desk.sending import CommandSender
from router.core.keys import Keys
from router.core.routing.command_answers import CommandAnswer, CommandState
from router.core.sealing import NO_KEYS
from router.streams.client.scripts import NotReplicatedError, Replication
from tests.console.desk.test_commands import CONVERSATION, OFFER

#: Of all processes of the office: the server of the tests has no replica.
SETTINGS = {"ROUTER_REDIS_WAIT": "1", "ROUTER_REDIS_WAIT_TIMEOUT": "0.05"}


async def test_a_command_that_no_replica_has_is_not_accepted(idle_office):
    """A failover would lose it: the program is to send it again, under the same id."""
    status, answer = await idle_office.command("handoff.request", conversation=CONVERSATION, reason="wants a person")
    assert (status, "error" in answer) == (503, True)


async def test_an_answer_to_an_offer_that_no_replica_has_is_not_taken_as_given(idle_office, colleagues):
    """The page does not say that it waits to be confirmed."""
    dana = await colleagues("dana")
    status, _, page = await dana.post("/desk/offers", {"offer": OFFER, "answer": "accept"})
    assert status == 503
    assert "Not confirmed yet" not in page


async def test_the_late_answer_to_what_no_replica_has_is_told(redis):
    """It is on the stream, so a worker may answer it all the same."""
    late = []
    replication = Replication(replicas=1, timeout=0.05)
    sender = CommandSender(redis, Keys(), source="/test", sealer=NO_KEYS, replication=replication)
    sender.on_late = lambda sent, answer: late.append((sent.user, sent.kind, answer.state))
    with pytest.raises(NotReplicatedError):
        await sender.send("dana", "offer.accept", "an-id", {"offer": OFFER, "agent": "dana"})
    sender.take("an-id", CommandAnswer(CommandState.DONE))
    assert late == [("dana", "offer.accept", CommandState.DONE)]
