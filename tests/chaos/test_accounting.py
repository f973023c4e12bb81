"""The books notice: whatever is lost, doubled, misplaced or left over in a world that was right makes a row false."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import orjson
import pytest

from router.core.addresses import Address
from router.core.keys import Target
from router.simulator.messages import message
from tests.chaos.accounting import ROWS, balance, find_private
from tests.chaos.balancer import Fate, Letter
from tests.chaos.books import Books, read
from tests.chaos.findings import Findings, Inbound, Line, Member, Published
from tests.chaos.replies import MARK
from tests.chaos.report import Report, dump, recovery_times, tell
from tests.chaos.schedule import SHORT, make_schedule
from tests.chaos.site import Away, End
from tests.chaos.stories import ACCOUNT, OUR_NUMBER
from tests.chaos.story import Customer, Story
from tests.chaos.watcher import CLOSED, JOINED, LEFT, SAID

CUSTOMER = Address("SMS", "+15580000010")
WORDS = ("word 1 of +15580000010", "word 2 of +15580000010")
WRITER = Customer("sms", CUSTOMER, Address("SMS", OUR_NUMBER), WORDS)
CONVERSATION, PARTICIPANT, OURS = "conv_conversation_1", "conv_participant_1", "conv_participant_2"
PERSON = Customer("sms", Address("SMS", "+15580000020"), Address("SMS", OUR_NUMBER), ("word 1 of +15580000020",))
PERSON = replace(PERSON, target=Target.HUMAN_AGENT, closed=1, stays=2, left=1)
DESK, NEXT = "conv_conversation_2", "conv_conversation_3"


def letter(customer, word):
    webhook = message("sms", account_sid=ACCOUNT, sender=customer.address.value, recipient=OUR_NUMBER, body=word)
    return Letter(webhook.path, (("Content-Type", webhook.content_type),), webhook.body)


def line(role, place, name, **fields):
    return Line(role, 0, place, 100.0 + place, {"event": name, **fields})


def published(place, kind, customer, conversation, participant, word="", cause=""):
    name = f"entry-{conversation[-1]}-{place}"
    return Published(
        place, name, kind, customer.target, conversation, participant, "SMS", customer.address.key, word, cause
    )


def a_world() -> Books:
    """Two customers: one wrote two words to the AI agent; one wrote to people, left, came back, and all was closed."""
    letters = [letter(WRITER, word) for word in WORDS] + [letter(PERSON, PERSON.words[0])]
    keys = [read(one)[0].key for one in letters]
    entries = [
        published(0, JOINED, WRITER, CONVERSATION, PARTICIPANT, cause=keys[0]),
        published(1, SAID, WRITER, CONVERSATION, PARTICIPANT, WORDS[0], keys[0]),
        published(2, SAID, WRITER, CONVERSATION, PARTICIPANT, WORDS[1], keys[1]),
        published(0, JOINED, PERSON, DESK, "conv_participant_3", cause=keys[2]),
        published(1, SAID, PERSON, DESK, "conv_participant_3", PERSON.words[0], keys[2]),
        published(2, LEFT, PERSON, DESK, "conv_participant_3"),
        Published(3, "entry-closed", CLOSED, Target.HUMAN_AGENT, DESK),
        published(4, JOINED, PERSON, NEXT, "conv_participant_5"),
    ]
    found = Findings(
        inbound=[Inbound(place, 50.0 + place, "messaging", key, "pair", b"") for place, key in enumerate(keys)],
        published=entries,
        members=[
            Member(PARTICIPANT, CONVERSATION, "CUSTOMER", "SMS", WRITER.address.key),
            Member(OURS, CONVERSATION, "AI_AGENT", "SMS", f"SMS|{OUR_NUMBER}"),
            *(
                Member(f"{kind}-{conversation}", conversation, kind, channel, key)
                for conversation in (DESK, NEXT)
                for kind, channel, key in (
                    ("CUSTOMER", "SMS", PERSON.address.key),
                    ("AGENT", "SMS", f"SMS|{OUR_NUMBER}"),
                    ("HUMAN_AGENT", "CHAT", "CHAT|ada"),
                )
            ),
        ],
        closed={DESK},
        texts=[(CONVERSATION, MARK + one.id) for one in entries[:3]],
        lines=[
            *(
                line("worker-1", place, "event", key=key, result="known", communication="published", ms=3)
                for place, key in enumerate(keys)
            ),
            *(line("web-1", place, "webhook", key=key, result="accepted") for place, key in enumerate(keys)),
            *(line("ai-agent-1", place, "consumed", entry=one.id) for place, one in enumerate(entries)),
            line("worker-2", 9, "claimed", from_consumer="host-77-1a-1", entries=4),
        ],
        waiting={"pending in inbound": 0},
        roster={NEXT: {"agent": "ada"}},
        load={"ada": 1},
        callbacks={"failed": 0, "dropped": 0, "pending": 0},
    )
    fates = {one: Fate({0}, Counter({0: 2})) for one in letters}
    ends = (End("worker-1", 77, 105.0, -9, is_kill=True, is_redis_away=False),)
    stories = (Story(0.0, (WRITER,), ()), Story(0.0, (PERSON,), ()))
    return Books(stories, fates, Counter(), found, ends, (Away(200.0, 203.0, is_kill=True),), {"web-1": 0})


@pytest.fixture
def books():
    return copy.deepcopy(a_world())


def wrong_rows(books):
    rows = balance(books)
    return {function.__name__ for function, row in zip(ROWS, rows, strict=True) if not row.is_true}


def test_a_world_that_is_right_has_no_false_row(books):
    """Nothing is found where nothing is wrong."""
    assert wrong_rows(books) == set()


def stop_a_story(books):
    books.unfinished = ("sms at step 2: Until",)


def send_too_little(books):
    books.least = 4


def lose_inbound(books):
    del books.found.inbound[1]


def double_inbound(books):
    books.found.inbound.append(replace(books.found.inbound[1], place=9))


def lose_line(books):
    books.found.lines = [one for one in books.found.lines if one.event != "event" or one.place != 1]


def lose_word(books):
    books.found.published = [one for one in books.found.published if one.word != WORDS[1]]


def double_word(books):
    again = next(one for one in books.found.published if one.word == WORDS[1])
    books.found.published.append(replace(again, id="another", place=8))


def make_up_word(books):
    again = next(one for one in books.found.published if one.word == WORDS[1])
    books.found.published.append(replace(again, id="another", place=8, word="never said"))


def lose_customer(books):
    books.found.members = [one for one in books.found.members if one.id != PARTICIPANT]


def double_customer(books):
    books.found.members.append(replace(books.found.members[0], id="another"))


def join_twice(books):
    books.found.published.append(replace(books.found.published[0], id="another", place=8))


def never_leave(books):
    books.found.published = [one for one in books.found.published if one.type != LEFT]


def close_twice(books):
    books.found.published.append(replace(next(one for one in books.found.published if one.type == CLOSED), id="x"))


def send_to_people(books):
    books.found.published[0] = replace(books.found.published[0], target=Target.HUMAN_AGENT)


def write_entry_twice(books):
    books.found.published.append(replace(books.found.published[-1], place=9))


def forget_entry(books):
    books.found.lines = [one for one in books.found.lines if one.fields.get("entry") != books.found.published[2].id]


def lose_answer(books):
    del books.found.texts[0]


def answer_twice(books):
    books.found.texts.append(books.found.texts[0])


def answer_nothing(books):
    books.found.texts.append((CONVERSATION, MARK + "unknown"))


def leave_seat_empty(books):
    books.found.members = [one for one in books.found.members if one.kind != "AI_AGENT"]


def seat_second_person(books):
    books.found.members.append(Member("second", NEXT, "HUMAN_AGENT", "CHAT", "CHAT|ben"))


def forget_assignment(books):
    books.found.roster.clear()


def keep_somebody_busy(books):
    books.found.load["ben"] = 1


def hear_before_joining(books):
    first, second, *rest = books.found.published
    books.found.published = [replace(first, place=1), replace(second, place=0), *rest]


def speak_after_closing(books):
    books.found.published.append(published(9, SAID, PERSON, DESK, "conv_participant_3", "late"))


def swap_arrivals(books):
    first, second, *rest = books.found.inbound
    books.found.inbound = [replace(first, place=1), replace(second, place=0), *rest]


def swap_departures(books):
    joined, first, second, *rest = books.found.published
    books.found.published = [joined, replace(first, place=2), replace(second, place=1), *rest]
    books.ends = ()


def leave_pending(books):
    books.found.waiting["pending in inbound"] = 1


def refuse_webhook(books):
    books.refused[403] += 1


def give_up(books):
    books.found.letters.append("why")


def end_badly(books):
    books.statuses = {"web-1": 1}


def end_by_itself(books):
    books.ends = (*books.ends, End("worker-1", 78, 150.0, 1, is_kill=False, is_redis_away=False))


def leave_traceback(books):
    books.tracebacks = ("worker-1/1.log",)


def show_address(books):
    books.private = ("a line with +15580000010",)


@pytest.mark.parametrize(
    ("spoil", "row"),
    [
        (stop_a_story, "stories_told"),
        (send_too_little, "events_arrived"),
        (lose_inbound, "events_arrived"),
        (double_inbound, "events_arrived"),
        (lose_line, "events_ended"),
        (lose_word, "words_heard"),
        (double_word, "words_heard"),
        (make_up_word, "words_heard"),
        (lose_customer, "customers_seated"),
        (double_customer, "customers_seated"),
        (join_twice, "customers_joined"),
        (never_leave, "customers_left"),
        (close_twice, "conversations_closed"),
        (send_to_people, "targets_kept"),
        (write_entry_twice, "entries_unique"),
        (forget_entry, "entries_handled"),
        (lose_answer, "entries_answered"),
        (answer_twice, "entries_answered"),
        (answer_nothing, "entries_answered"),
        (leave_seat_empty, "seats_taken"),
        (seat_second_person, "seats_taken"),
        (forget_assignment, "roster_kept"),
        (keep_somebody_busy, "roster_kept"),
        (hear_before_joining, "stays_in_order"),
        (speak_after_closing, "stays_in_order"),
        (swap_arrivals, "arrivals_in_order"),
        (swap_departures, "departures_in_order"),
        (leave_pending, "nothing_waits"),
        (refuse_webhook, "nothing_waits"),
        (give_up, "no_dead_letters"),
        (end_badly, "ends_clean"),
        (end_by_itself, "ends_clean"),
        (leave_traceback, "ends_clean"),
        (show_address, "logs_are_silent"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_what_is_wrong_makes_its_row_false(books, spoil, row):
    """Each loss, double, swap and leftover is found by the row that is there for it."""
    spoil(books)
    assert row in wrong_rows(books)


def test_every_row_can_be_false():
    """No row is there that nothing can make false."""
    (mark,) = [one for one in test_what_is_wrong_makes_its_row_false.pytestmark if one.name == "parametrize"]
    assert {row for _, row in mark.args[1]} == {function.__name__ for function in ROWS}


def test_a_message_that_two_sources_tell_is_in_the_stream_once(books):
    """Event Streams tells a message again under a key of its own: both are accepted, and one entry is enough."""
    from tests.chaos.stories import _event, _message

    event = _event(_message("sms", WRITER, WORDS[0]), is_batch=True)
    told = Letter(event.path, (("Content-Type", event.content_type),), event.body)
    books.fates[told] = Fate({1}, Counter({1: 1}))
    assert len(books.events) == 4
    assert wrong_rows(books) == set()


def test_who_left_before_the_answer_needs_none(books):
    """A consumer that found the customer gone sent nothing, where the customer has really left; two are too many."""
    joined = books.found.published[0]
    books.found.lines.append(
        line("ai-agent-1", 20, "consumed", entry=joined.id, result="joined", reply="customer-left")
    )
    lost = [one for one in books.found.texts if one[1] != MARK + joined.id]
    books.found.texts = lost
    assert wrong_rows(books) == {"entries_answered"}
    books.found.published.insert(3, replace(joined, id="left", type=LEFT, place=3))
    books.found.lines.append(line("ai-agent-1", 21, "consumed", entry="left", result="ignored"))
    books = replace(books, stories=(Story(0.0, (replace(WRITER, left=1),), ()), books.stories[1]))
    assert wrong_rows(books) == set()
    books.found.texts = [*lost, (CONVERSATION, MARK + joined.id), (CONVERSATION, MARK + joined.id)]
    assert wrong_rows(books) == {"entries_answered"}


def test_what_was_not_answered_2xx_is_promised_nothing(books):
    """A webhook that nobody took need not be anywhere."""
    books.fates[letter(WRITER, "never taken")] = Fate({0, 1}, Counter())
    assert wrong_rows(books) == set()


def test_an_end_while_redis_is_away_is_excused(books):
    """A process that is started without Redis says so and ends; its supervisor starts it again."""
    books.ends = (*books.ends, End("worker-1", 78, 202.0, 2, is_kill=False, is_redis_away=True))
    assert wrong_rows(books) == set()


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ('{"address":"+155***10"}', 0),
        ('{"address":"+15580000010"}', 1),
        ('{"address":"15580000010"}', 1),
        ('{"key":"EZaa577155878381450fed"}', 0),
        ("From: customer17@example.com", 1),
        ("c***@example.com", 0),
        ("word 3 of", 1),
    ],
)
def test_private_lines_are_found_and_masked_ones_are_not(text, shows):
    """An address in full, or what somebody said, is found in any line."""
    assert len(find_private(text)) == shows


def test_the_report_prints_every_row_and_what_does_not_fit(books):
    """Expected and found of each row, ok or FALSE, and below a false one its first few items."""
    lose_word(books)
    report = Report(make_schedule(1, SHORT), balance(books), tell(books, Counter({"worker-1": 2}), 10.0))
    text = report.render()
    assert not report.is_true
    assert text.count("  ok") == len(ROWS) - text.count("FALSE")
    assert f"SMS|+15580000010 {WORDS[1]} is missing" in text
    assert "killed: 2: worker-1 2" in text


def test_a_wrong_item_is_kept_with_the_log_lines_about_it(books, tmp_path):
    """Whoever looks for the reason finds all tables as JSON lines, and beside each item what the logs say of it."""
    lose_inbound(books)
    report = Report(make_schedule(1, SHORT), balance(books), {})
    dump(tmp_path, books, report)
    (wrong,) = [orjson.loads(one) for one in (tmp_path / "wrong.jsonl").read_bytes().splitlines()][:1]
    key = read(letter(WRITER, WORDS[1]))[0].key
    assert wrong["wrong"] == f"{key}: 0 times in the inbound stream"
    assert [one.split()[0] for one in wrong["lines"]] == ["worker-1.0", "web-1.0"]
    assert len((tmp_path / "published.jsonl").read_bytes().splitlines()) == len(books.found.published)


def test_a_recovery_is_the_time_from_a_kill_to_the_take_over(books):
    """The process id in a consumer's name says which kill it was."""
    (recovery,) = recovery_times(books)
    assert (recovery.seconds, recovery.entries, recovery.is_disturbed) == (4.0, 4, False)
    books.aways = (Away(100.0, 104.0, is_kill=False),)
    assert recovery_times(books)[0].is_disturbed
