"""Commands where replicas must confirm what is written (ROUTER_REDIS_WAIT), and none does."""

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
