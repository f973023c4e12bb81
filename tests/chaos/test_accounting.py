"""Whatever is lost, doubled, misplaced or left over in a record that was right makes a row false."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import orjson
import pytest

from router.core.addresses import Address
from router.core.keys import Target
from router.simulator.messages import message
from tests.chaos.accounting import ROWS, find_private, make_table
from tests.chaos.balancer import DeliveryRecord, RawWebhook
from tests.chaos.deployment import ProcessEnd, RedisOutage
from tests.chaos.final_state import FinalState, FloorNews, Inbound, Line, Member, Published
from tests.chaos.lasting import LastedOutage, Lasting, Scope
from tests.chaos.record import RoundRecord, read
from tests.chaos.replies import MARK
from tests.chaos.report import Report, dump, recovery_times, summarize
from tests.chaos.scenario import Customer, Scenario
from tests.chaos.schedule import SHORT, make_schedule
from tests.chaos.watcher import CHANGED, CLOSED, ENDED, JOINED, LEFT, MADE, RECEIVED, REQUESTED
from tests.support.accounts import ACCOUNT, OURS

CUSTOMER = Address("SMS", "+15580000010")
MESSAGES = ("message 1 of +15580000010", "message 2 of +15580000010")
WRITER = Customer("sms", CUSTOMER, Address("SMS", OURS), MESSAGES)
CONVERSATION, PARTICIPANT, AI_AGENT = "conv_conversation_1", "conv_participant_1", "conv_participant_2"
DESK_CUSTOMER = Customer("sms", Address("SMS", "+15580000020"), Address("SMS", OURS), ("message 1 of +15580000020",))
DESK_CUSTOMER = replace(DESK_CUSTOMER, target=Target.HUMAN_AGENT, closed=1, stays=2, left=1)
OLD, NEXT = "conv_conversation_2", "conv_conversation_3"


def webhook(customer, text):
    webhook = message("sms", account_sid=ACCOUNT, sender=customer.address.value, recipient=OURS, body=text)
    return RawWebhook(webhook.path, (("Content-Type", webhook.content_type),), webhook.body)


def line(role, place, name, **fields):
    return Line(role, 0, place, 100.0 + place, {"event": name, **fields})


def published(place, kind, customer, conversation, participant, message="", cause=""):
    return Published(
        place=place,
        id=f"entry-{conversation[-1]}-{place}",
        type=kind,
        target=customer.target,
        conversation=conversation,
        participant=participant,
        channel="SMS",
        owner=customer.address.key,
        message=message,
        cause=cause,
        at=100.0 + 2 * place,
    )


#: The first place of entries after a person has accepted.
HELD_PLACE = 100


def held(entry):
    """Return an entry after a person has accepted."""
    return replace(entry, place=HELD_PLACE + entry.place, epoch=1)


def handed_to(agent, conversation, place):
    """Return what both targets are told, from a place on, of a request that one person accepts."""
    offer = FloorNews(f"{conversation}/rule.1", agent)
    changed = FloorNews(how="accepted", before="human-agent", after=f"human-agent {agent}")
    news = (
        (REQUESTED, FloorNews(f"{conversation}/rule"), 0),
        (MADE, offer, 0),
        (ENDED, replace(offer, how="accepted"), 0),
        (CHANGED, changed, 1),
    )
    told = [
        Published(
            place + more, f"{kind} {conversation}", kind, Target.HUMAN_AGENT, conversation, epoch=epoch, floor=floor
        )
        for more, (kind, floor, epoch) in enumerate(news)
    ]
    return [*told, replace(told[-1], target=Target.AI_AGENT, id=f"to the other {conversation}")]


def a_record() -> RoundRecord:
    """One customer wrote twice to the AI agent; one wrote to a human agent, left, came back, and was closed."""
    webhooks = [webhook(WRITER, text) for text in MESSAGES] + [webhook(DESK_CUSTOMER, DESK_CUSTOMER.messages[0])]
    keys = [read(one)[0].key for one in webhooks]
    entries = [
        published(0, JOINED, WRITER, CONVERSATION, PARTICIPANT, cause=keys[0]),
        published(1, RECEIVED, WRITER, CONVERSATION, PARTICIPANT, MESSAGES[0], keys[0]),
        published(2, RECEIVED, WRITER, CONVERSATION, PARTICIPANT, MESSAGES[1], keys[1]),
        published(0, JOINED, DESK_CUSTOMER, OLD, "conv_participant_3", cause=keys[2]),
        held(published(1, RECEIVED, DESK_CUSTOMER, OLD, "conv_participant_3", DESK_CUSTOMER.messages[0], keys[2])),
        held(published(2, LEFT, DESK_CUSTOMER, OLD, "conv_participant_3")),
        held(Published(3, "entry-closed", CLOSED, Target.HUMAN_AGENT, OLD)),
        replace(published(4, JOINED, DESK_CUSTOMER, NEXT, "conv_participant_5"), place=HELD_PLACE),
        *handed_to("ada", OLD, HELD_PLACE // 2),
        *handed_to("ada", NEXT, HELD_PLACE * 2),
    ]
    found = FinalState(
        inbound=[Inbound(place, 50.0 + place, "messaging", key, "pair", b"") for place, key in enumerate(keys)],
        published=entries,
        members=[
            Member(PARTICIPANT, CONVERSATION, "CUSTOMER", "SMS", WRITER.address.key),
            Member(AI_AGENT, CONVERSATION, "AI_AGENT", "SMS", f"SMS|{OURS}"),
            *(
                Member(f"{kind}-{conversation}", conversation, kind, channel, key)
                for conversation in (OLD, NEXT)
                for kind, channel, key in (
                    ("CUSTOMER", "SMS", DESK_CUSTOMER.address.key),
                    ("AGENT", "SMS", f"SMS|{OURS}"),
                    ("HUMAN_AGENT", "CHAT", "CHAT|ada"),
                )
            ),
        ],
        closed={OLD},
        texts=[(CONVERSATION, MARK + one.id) for one in entries[:3]],
        lines=[
            *(
                line("worker-1", place, "event", key=key, result="known", communication="published", ms=3)
                for place, key in enumerate(keys)
            ),
            *(line("web-1", place, "webhook", key=key, result="accepted") for place, key in enumerate(keys)),
            *(line("ai-agent-1", place, "consumed", entry=one.id) for place, one in enumerate(entries)),
            line("worker-2", 9, "claimed", from_consumer="host-77-1a-1", entries=4),
            line("worker-1", 10, "log.dropped", lines=1),
        ],
        waiting={"pending in inbound": 0},
        loads={"ada": 1},
        callbacks={"failed": 0, "dropped": 0, "pending": 0},
    )
    deliveries = {one: DeliveryRecord({0}, Counter({0: 2})) for one in webhooks}
    ends = (ProcessEnd("worker-1", 77, 105.0, -9, is_kill=True, is_redis_away=False),)
    scenarios = (Scenario(0.0, (WRITER,), ()), Scenario(0.0, (DESK_CUSTOMER,), ()))
    record = RoundRecord(
        scenarios, deliveries, Counter(), found, ends, (RedisOutage(200.0, 203.0, is_kill=True),), {"web-1": 0}
    )
    affected = frozenset({WRITER.address.key})
    record.lasting = tuple(
        LastedOutage(Lasting(scope, 10.0, 10.0, "", affected), 100.0, 110.0, hits=3, accepted=2) for scope in Scope
    )
    return record


@pytest.fixture
def record():
    return copy.deepcopy(a_record())


def wrong_rows(record):
    rows = make_table(record)
    return {function.__name__ for function, row in zip(ROWS, rows, strict=True) if not row.is_true}


def test_a_record_that_is_right_has_no_false_row(record):
    """Every row is true where nothing is wrong."""
    assert wrong_rows(record) == set()


def leave_a_scenario_unfinished(record):
    record.unfinished = ("sms at step 2: WaitUntil",)


def send_too_little(record):
    record.least = 4


def lose_inbound(record):
    del record.state.inbound[1]


def double_inbound(record):
    record.state.inbound.append(replace(record.state.inbound[1], place=9))


def lose_more_lines_than_were_dropped(record):
    record.state.lines = [one for one in record.state.lines if one.event != "event" or one.place == 0]


def lose_message(record):
    record.state.published = [one for one in record.state.published if one.message != MESSAGES[1]]


def double_message(record):
    again = next(one for one in record.state.published if one.message == MESSAGES[1])
    record.state.published.append(replace(again, id="another", place=8))


def invent_message(record):
    again = next(one for one in record.state.published if one.message == MESSAGES[1])
    record.state.published.append(replace(again, id="another", place=8, message="never said"))


def lose_customer(record):
    record.state.members = [one for one in record.state.members if one.id != PARTICIPANT]


def double_customer(record):
    record.state.members.append(replace(record.state.members[0], id="another"))


def join_twice(record):
    record.state.published.append(replace(record.state.published[0], id="another", place=8))


def never_leave(record):
    record.state.published = [one for one in record.state.published if one.type != LEFT]


def close_twice(record):
    record.state.published.append(replace(next(one for one in record.state.published if one.type == CLOSED), id="x"))


def send_to_people(record):
    record.state.published[0] = replace(record.state.published[0], target=Target.HUMAN_AGENT)


def write_entry_twice(record):
    record.state.published.append(replace(record.state.published[-1], place=9))


def forget_entry(record):
    record.state.lines = [one for one in record.state.lines if one.fields.get("entry") != record.state.published[2].id]


def lose_answer(record):
    del record.state.texts[0]


def answer_twice(record):
    record.state.texts.append(record.state.texts[0])


def answer_nothing(record):
    record.state.texts.append((CONVERSATION, MARK + "unknown"))


def lose_ai_agent(record):
    record.state.members = [one for one in record.state.members if one.kind != "AI_AGENT"]


def add_second_human_agent(record):
    record.state.members.append(Member("second", NEXT, "HUMAN_AGENT", "CHAT", "CHAT|ben"))


def add_somebody_who_never_held(record):
    record.state.members = [
        replace(one, key="CHAT|ben") if one.key == "CHAT|ada" else one for one in record.state.members
    ]


def lose_the_holder(record):
    record.state.members = [one for one in record.state.members if one.id != f"HUMAN_AGENT-{NEXT}"]


def change(record, kind, conversation=NEXT, **fields):
    """Change the entries of a kind about a conversation."""
    record.state.published = [
        replace(one, **fields) if (one.type, one.conversation) == (kind, conversation) else one
        for one in record.state.published
    ]


def lose(record, kind, target=Target.HUMAN_AGENT):
    record.state.published = [
        one for one in record.state.published if (one.type, one.conversation, one.target) != (kind, NEXT, target)
    ]


def skip_an_epoch(record):
    change(record, CHANGED, epoch=2)


def change_from_somebody_else(record):
    change(record, CHANGED, floor=FloorNews(how="accepted", before="human-agent ben", after="human-agent ada"))


def tell_one_target_only(record):
    lose(record, CHANGED, Target.AI_AGENT)


def write_in_an_old_epoch(record):
    record.state.published.append(
        replace(published(3 * HELD_PLACE, LEFT, DESK_CUSTOMER, NEXT, "conv_participant_5"), id="late")
    )


def write_to_who_does_not_hold(record):
    again = replace(published(3 * HELD_PLACE, RECEIVED, WRITER, NEXT, "conv_participant_5"), id="other", epoch=1)
    record.state.published.append(again)


def never_end_the_request(record):
    change(record, CHANGED, type="something.else", epoch=0)


def ask_twice(record):
    again = next(one for one in record.state.published if (one.type, one.conversation) == (REQUESTED, NEXT))
    record.state.published.append(replace(again, id="second", place=2 * HELD_PLACE + 1, floor=FloorNews("second")))


def never_end_the_offer(record):
    lose(record, ENDED)


def offer_twice(record):
    again = next(one for one in record.state.published if (one.type, one.conversation) == (MADE, NEXT))
    record.state.published.append(
        replace(again, id="second", place=2 * HELD_PLACE + 2, floor=FloorNews("second", "ben"))
    )


def give_it_to_somebody_else(record):
    change(record, CHANGED, floor=FloorNews(how="accepted", before="human-agent", after="human-agent ben"))


def accept_without_holding(record):
    lose(record, CHANGED)


def count_too_much_load(record):
    record.state.desk.append("loads: desk {'ben': 1}, ledgers {}")


def publish_before_joining(record):
    first, second, *rest = record.state.published
    record.state.published = [replace(first, place=1), replace(second, place=0), *rest]


def publish_after_closing(record):
    record.state.published.append(held(published(9, RECEIVED, DESK_CUSTOMER, OLD, "conv_participant_3", "late")))


def swap_arrivals(record):
    first, second, *rest = record.state.inbound
    record.state.inbound = [replace(first, place=1), replace(second, place=0), *rest]


def swap_departures(record):
    joined, first, second, *rest = record.state.published
    record.state.published = [
        joined,
        replace(first, place=2, at=second.at),
        replace(second, place=1, at=first.at),
        *rest,
    ]
    record.ends = ()


def leave_pending(record):
    record.state.waiting["pending in inbound"] = 1


def refuse_webhook(record):
    record.refused[403] += 1


def dead_letter_an_entry(record):
    record.state.dead_letters.append("why")


def serve_only_the_affected(scope):
    def spoil(record):
        record.state.published = [
            one if one.owner == WRITER.address.key else replace(one, at=99.0) for one in record.state.published
        ]
        record.lasting = tuple(replace(one, accepted=0) for one in record.lasting)

    spoil.__name__ = f"serve_only_the_affected_{scope.name.lower()}"
    return spoil


def serve_in_one_part_only(record):
    change(record, JOINED, at=101.0)


def hit_nothing(record):
    record.lasting = tuple(replace(one, hits=0) for one in record.lasting)


def drop_no_line(record):
    record.state.lines = [one for one in record.state.lines if one.event != "log.dropped"]


def last_not(record):
    record.lasting = ()


def end_badly(record):
    record.statuses = {"web-1": 1}


def end_by_itself(record):
    record.ends = (*record.ends, ProcessEnd("worker-1", 78, 150.0, 1, is_kill=False, is_redis_away=False))


def leave_traceback(record):
    record.tracebacks = ("worker-1/1.log",)


def log_an_address(record):
    record.private = ("a line with +15580000010",)


@pytest.mark.parametrize(
    ("spoil", "row"),
    [
        (leave_a_scenario_unfinished, "scenarios_finished"),
        (send_too_little, "events_arrived"),
        (lose_inbound, "events_arrived"),
        (double_inbound, "events_arrived"),
        (lose_more_lines_than_were_dropped, "events_settled"),
        (lose_message, "messages_published"),
        (double_message, "messages_published"),
        (invent_message, "messages_published"),
        (lose_customer, "customers_present"),
        (double_customer, "customers_present"),
        (join_twice, "customers_joined"),
        (never_leave, "customers_left"),
        (close_twice, "conversations_closed"),
        (send_to_people, "targets_followed"),
        (write_entry_twice, "entries_unique"),
        (forget_entry, "entries_handled"),
        (lose_answer, "entries_answered"),
        (answer_twice, "entries_answered"),
        (answer_nothing, "entries_answered"),
        (lose_ai_agent, "agents_present"),
        (add_second_human_agent, "agents_present"),
        (add_somebody_who_never_held, "agents_present"),
        (lose_the_holder, "agents_present"),
        (skip_an_epoch, "one_holder_at_every_moment"),
        (change_from_somebody_else, "one_holder_at_every_moment"),
        (tell_one_target_only, "one_holder_at_every_moment"),
        (write_in_an_old_epoch, "one_holder_at_every_moment"),
        (write_to_who_does_not_hold, "one_holder_at_every_moment"),
        (never_end_the_request, "requests_ended"),
        (ask_twice, "requests_ended"),
        (never_end_the_offer, "offers_ended"),
        (offer_twice, "offers_ended"),
        (give_it_to_somebody_else, "offers_ended"),
        (accept_without_holding, "offers_ended"),
        (count_too_much_load, "desk_agrees"),
        (publish_before_joining, "stays_in_order"),
        (publish_after_closing, "stays_in_order"),
        (swap_arrivals, "arrivals_in_order"),
        (swap_departures, "departures_in_order"),
        (leave_pending, "nothing_left_over"),
        (refuse_webhook, "nothing_left_over"),
        (dead_letter_an_entry, "no_dead_letters"),
        *((serve_only_the_affected(scope), f"served_in_spite_of_{scope.name.lower()}") for scope in Scope),
        *((last_not, f"served_in_spite_of_{scope.name.lower()}") for scope in Scope),
        *((hit_nothing, f"served_in_spite_of_{scope.name.lower()}") for scope in Scope if scope is not Scope.LOG),
        (drop_no_line, "served_in_spite_of_log"),
        (serve_in_one_part_only, "served_in_spite_of_account"),
        (end_badly, "processes_ended_cleanly"),
        (end_by_itself, "processes_ended_cleanly"),
        (leave_traceback, "processes_ended_cleanly"),
        (log_an_address, "logs_show_nothing_private"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_each_error_makes_its_row_false(record, spoil, row):
    """Each loss, double, swap and leftover is found by the row about it."""
    spoil(record)
    assert row in wrong_rows(record)


def test_every_row_can_be_false():
    """Each row is made false by some error."""
    (mark,) = [one for one in test_each_error_makes_its_row_false.pytestmark if one.name == "parametrize"]
    assert {row for _, row in mark.args[1]} == {function.__name__ for function in ROWS}


def test_a_message_that_two_sources_report_is_in_the_stream_once(record):
    """Event Streams repeats a message under a key of its own: both are accepted, and one entry is enough."""
    from tests.chaos.scenarios import _event, _message

    event = _event(_message("sms", WRITER, MESSAGES[0]), is_batch=True)
    repeated = RawWebhook(event.path, (("Content-Type", event.content_type),), event.body)
    record.deliveries[repeated] = DeliveryRecord({1}, Counter({1: 1}))
    assert len(record.events) == 4
    assert wrong_rows(record) == set()


def test_a_customer_who_left_before_the_answer_needs_none(record):
    """A missing answer is right where a consumer found that the customer had left; two answers never are."""
    joined = record.state.published[0]
    record.state.lines.append(
        line("ai-agent-1", 20, "consumed", entry=joined.id, result="joined", reply="customer-left")
    )
    lost = [one for one in record.state.texts if one[1] != MARK + joined.id]
    record.state.texts = lost
    assert wrong_rows(record) == {"entries_answered"}
    record.state.published.insert(3, replace(joined, id="left", type=LEFT, place=3))
    record.state.lines.append(line("ai-agent-1", 21, "consumed", entry="left", result="ignored"))
    record = replace(record, scenarios=(Scenario(0.0, (replace(WRITER, left=1),), ()), record.scenarios[1]))
    assert wrong_rows(record) == set()
    record.state.texts = [*lost, (CONVERSATION, MARK + joined.id), (CONVERSATION, MARK + joined.id)]
    assert wrong_rows(record) == {"entries_answered"}


def test_a_webhook_without_a_2xx_has_no_promise(record):
    """A webhook that no receiver accepted need not be anywhere."""
    record.deliveries[webhook(WRITER, "never accepted")] = DeliveryRecord({0, 1}, Counter())
    assert wrong_rows(record) == set()


FAILED = '{"event":"process.failed","reason":"Redis: ConnectionError"}'


@pytest.mark.parametrize(
    ("status", "last_line", "at", "is_right"),
    [
        (1, FAILED, 202.0, True),
        (1, FAILED, 217.0, True),
        (2, "  REDIS_URL: ConnectionError: Error 111", 202.0, True),
        (1, FAILED, 250.0, False),
        (0, '{"event":"process.stopped"}', 202.0, False),
        (1, "KeyError: 'url'", 202.0, False),
        (-11, FAILED, 202.0, False),
    ],
    ids=["no Redis", "Redis just back", "no Redis at all", "Redis there", "status 0", "crash", "signal"],
)
def test_a_process_ends_by_itself_only_without_redis_at_its_start(record, status, last_line, at, is_right):
    """It logs that and ends with status 1; any other end before SIGTERM makes the row false and is shown."""
    end = ProcessEnd("worker-1", 78, at, status, is_kill=False, is_redis_away=False, last_line=last_line)
    record.ends = (*record.ends, end)
    assert wrong_rows(record) == (set() if is_right else {"processes_ended_cleanly"})
    shown = [wrong for row in make_table(record) for wrong in row.wrong]
    assert shown == ([] if is_right else [f"worker-1 (process 78) ended by itself with status {status}: {last_line}"])


@pytest.mark.parametrize(
    ("text", "shows"),
    [
        ('{"address":"+155***10"}', 0),
        ('{"address":"+15580000010"}', 1),
        ('{"address":"15580000010"}', 1),
        ('{"key":"EZaa577155878381450fed"}', 0),
        ("From: customer17@example.com", 1),
        ("c***@example.com", 0),
        ("message 3 of", 1),
    ],
)
def test_private_lines_are_found_and_masked_ones_are_not(text, shows):
    """A full address or a text is found in any line; a masked one is not."""
    assert len(find_private(text)) == shows


def test_the_report_prints_every_row_and_the_wrong_items(record):
    """Each row has expected, found, and ok or FALSE; the first wrong items follow a false one."""
    lose_message(record)
    report = Report(make_schedule(1, SHORT), make_table(record), summarize(record, Counter({"worker-1": 2}), 10.0))
    text = report.render()
    assert not report.is_true
    assert text.count("  ok") == len(ROWS) - text.count("FALSE")
    assert f"SMS|+15580000010 {MESSAGES[1]} is missing" in text
    assert "killed: 2: worker-1 2" in text


def test_a_wrong_item_is_kept_with_the_log_lines_about_it(record, tmp_path):
    """All tables are written as JSON lines, each wrong item with the log lines about it."""
    lose_inbound(record)
    report = Report(make_schedule(1, SHORT), make_table(record), {})
    dump(tmp_path, record, report)
    (wrong,) = [orjson.loads(one) for one in (tmp_path / "wrong.jsonl").read_bytes().splitlines()][:1]
    key = read(webhook(WRITER, MESSAGES[1]))[0].key
    assert wrong["wrong"] == f"{key}: 0 times in the inbound stream"
    assert [one.split()[0] for one in wrong["lines"]] == ["worker-1.0", "web-1.0"]
    assert len((tmp_path / "published.jsonl").read_bytes().splitlines()) == len(record.state.published)


def test_a_recovery_is_the_time_from_a_kill_to_the_take_over(record):
    """The process id in a consumer's name identifies the kill."""
    (recovery,) = recovery_times(record)
    assert (recovery.seconds, recovery.entries, recovery.is_disturbed) == (4.0, 4, False)
    record.redis_outages = (RedisOutage(100.0, 104.0, is_kill=False),)
    assert recovery_times(record)[0].is_disturbed
