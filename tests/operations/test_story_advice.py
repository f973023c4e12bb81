"""What to do about a stage: the first row that fits, and of what may have gone on only the last stage."""

import pytest

from router.core.stories import StageName, StoryStage
from router.operations.story_advice import advise

CONVERSATION = "conv_conversation_00000000000000000000000001"


def stage(name, detail="", event="ev_1", process=""):
    return StoryStage(1, name, process, event, detail)


@pytest.mark.parametrize(
    ("name", "detail", "words", "command", "path"),
    [
        (
            StageName.REFUSED,
            "answered 403 (signature): x; kept in the quarantine as 12-0",
            "find out what was signed",
            "python -m router explain-signature --id 12-0",
            "/quarantine?event=ev_1",
        ),
        (
            StageName.REFUSED,
            "answered 403 (account): x; kept in the quarantine as 12-0",
            "see why it was refused",
            "python -m router quarantine show 12-0",
            "/quarantine?event=ev_1",
        ),
        (
            StageName.WAITING,
            "creating: RateLimitError 429",
            "nothing: it goes on",
            "--event ev_1",
            "/waiting?event=ev_1",
        ),
        (StageName.WAITING, "creating: ServerError 503", "nothing: it goes on", "--event ev_1", "/waiting?event=ev_1"),
        (StageName.WAITING, "creating: x 403", "the API key is wrong", "router check", "/waiting?event=ev_1"),
        (StageName.WAITING, "creating: x 404", "does not know an id", "router check", "/waiting?event=ev_1"),
        (StageName.WAITING, "replicas do not confirm", "see what it waits for", "--event ev_1", "/waiting?event=ev_1"),
        (StageName.DEAD, "given up", "see why it was given up", "dead-letters list --event ev_1", "/dead-letters"),
        (
            StageName.OFFERED,
            f"epoch 0, conversation {CONVERSATION}",
            "who was asked",
            f"explain {CONVERSATION}",
            "?q=conv",
        ),
        (StageName.SPOOLED, "", "nothing: it follows by itself", "", "/processes"),
    ],
)
def test_advice_of_a_stage(name, detail, words, command, path):
    """Words, a command and a page for each kind of stage that needs something."""
    (advice,) = advise([stage(name, detail)])
    assert words in advice.words
    assert command in advice.command
    assert path in advice.path


def test_what_has_gone_on_needs_nothing():
    """A wait that has ended has no advice, one that has not has; what was published needs none."""
    waiting = stage(StageName.WAITING, "creating: ServerError 500")
    assert [one is None for one in advise([waiting, stage(StageName.RESOLVED), waiting])] == [True, True, False]
    assert advise([stage(StageName.PUBLISHED), stage(StageName.SENT)]) == [None, None]


def test_a_refused_webhook_whose_event_was_accepted_later_needs_nothing():
    """The same message signed rightly, or replayed: only a refusal that nothing of its event follows has advice."""
    refused = stage(StageName.REFUSED, "answered 403 (signature): x; kept in the quarantine as 12-0")
    other = stage(StageName.RESOLVED, event="ev_2")
    assert [one is None for one in advise([refused, refused, stage(StageName.RESOLVED)])] == [True, True, True]
    assert [one is None for one in advise([stage(StageName.RESOLVED), refused, other])] == [True, False, True]


def test_what_was_given_up_and_replayed_needs_nothing():
    """Only a death that no further attempt of the same group follows has advice; one of another group is none."""
    replayed = stage(StageName.REPLAYED)
    dead = stage(StageName.DEAD, "given up by resolver after 3: no")
    dead_agent = stage(StageName.DEAD, "given up by ai-agent after 5: no")
    consumed = stage(StageName.CONSUMED, process="ai-agent host:1")
    other = stage(StageName.CONSUMED, process="archive host:1")
    for stages, wanted in (
        ([dead, replayed, consumed], [True, True, True]),
        ([dead, replayed, dead], [True, True, False]),
        ([dead_agent, consumed], [True, True]),
        ([dead_agent, dead_agent], [True, False]),
        ([dead_agent, other, replayed], [False, True, True]),
    ):
        assert [one is None for one in advise(stages)] == wanted


def test_of_offers_the_last_one_has_advice():
    """Offers follow each other, whatever commands and times they come from."""
    offers = [stage(StageName.OFFERED, f"conversation {CONVERSATION}", event) for event in ("", "ev_2", "")]
    assert [one is None for one in advise(offers)] == [True, True, False]
