"""Redis keys: one module, one form, one slot per partition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from router.core.keys import MAX_KEY, PERMANENT, Keys, Target
from tests.support.accounts import ACCOUNT
from tests.support.keys import kind_of, one_of_each

KEYS = Keys("acme")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        pytest.param(KEYS.layout(), "acme:{0}:partitions", id="layout"),
        pytest.param(KEYS.fence(2), "acme:{2}:fence", id="fence"),
        pytest.param(KEYS.moving(2, "inbound"), "acme:{2}:moving:inbound", id="moving"),
        pytest.param(KEYS.inbound(0), "acme:{0}:inbound", id="inbound"),
        pytest.param(KEYS.participants(0, Target.AI_AGENT), "acme:{0}:participants:ai-agent", id="ai-agent"),
        pytest.param(KEYS.participants(3, "human-agent"), "acme:{3}:participants:human-agent", id="human-agent"),
        pytest.param(KEYS.dead_letters(0), "acme:{0}:dead-letters", id="dead-letters"),
        pytest.param(KEYS.seen(0, "k:1"), "acme:{0}:seen:k:1", id="seen"),
        pytest.param(KEYS.latest(0, "AC1", "SMS|+1"), "acme:{0}:latest:AC1:SMS|+1", id="latest"),
        pytest.param(KEYS.conversation("AC1", "conv_1"), "acme:{0}:conversation:AC1:conv_1", id="conversation"),
        pytest.param(
            KEYS.communication("AC1", "conv_1", "SM1"), "acme:{0}:communication:AC1:conv_1:SM1", id="communication"
        ),
        pytest.param(KEYS.route("AC1", "pair"), "acme:{0}:route:AC1:pair", id="route"),
        pytest.param(KEYS.creating("AC1", "SMS|+1"), "acme:{0}:creating:AC1:SMS|+1", id="creating"),
        pytest.param(KEYS.own_addresses("AC1"), "acme:{0}:our-addresses:AC1", id="own-addresses"),
        pytest.param(KEYS.callbacks("AC1"), "acme:{0}:callbacks:AC1", id="callbacks"),
        pytest.param(KEYS.active(1), "acme:{1}:active", id="active"),
        pytest.param(KEYS.sweeps(1), "acme:{1}:sweeps", id="sweeps"),
        pytest.param(KEYS.pace(), "acme:{0}:pace", id="pace"),
        pytest.param(KEYS.heartbeat(1, "resolver", "host-1"), "acme:{1}:heartbeat:resolver:host-1", id="heartbeat"),
        pytest.param(KEYS.deaths(1, "ai-agent"), "acme:{1}:deaths:ai-agent", id="deaths"),
        pytest.param(KEYS.effect(1, "ai-agent", "9-0"), "acme:{1}:effect:ai-agent:9-0", id="effect"),
        pytest.param(KEYS.commands(2), "acme:{2}:commands", id="commands"),
        pytest.param(KEYS.timers(2), "acme:{2}:timers", id="timers"),
        pytest.param(KEYS.desk("agents"), "acme:{0}:desk:agents", id="desk"),
        pytest.param(KEYS.job("1"), "acme:{0}:job:1", id="job"),
        pytest.param(KEYS.quarantine(), "acme:quarantine", id="quarantine"),
        pytest.param(KEYS.quarantine_order("account"), "{acme:quarantine}:order:account", id="quarantine-order"),
        pytest.param(KEYS.quarantine_known(), "{acme:quarantine}:known", id="quarantine-known"),
        pytest.param(KEYS.quarantine_repeats(), "{acme:quarantine}:repeats", id="quarantine-repeats"),
        pytest.param(KEYS.quarantine_bytes(), "{acme:quarantine}:bytes", id="quarantine-bytes"),
        pytest.param(KEYS.quarantine_ours(), "{acme:quarantine}:ours", id="quarantine-ours"),
    ],
)
def test_form(key, expected):
    """Every key is namespace, hash tag of the partition, kind, and the distinguishing parts."""
    assert key == expected


def test_documented_names_of_the_streams():
    """The streams that other programs read have their documented names, with the default namespace."""
    assert Keys().inbound(0) == "router:{0}:inbound"
    assert [Keys().participants(0, target) for target in Target] == [
        "router:{0}:participants:ai-agent",
        "router:{0}:participants:human-agent",
    ]
    assert Keys().quarantine() == "router:quarantine"


def test_every_kind_of_key_has_its_own_name():
    """No two functions make keys of one kind, so that no kind gets another's TTL."""
    kinds = [key.split(":")[2] for key in one_of_each(KEYS) if key.startswith("acme:{")]
    assert len(set(kinds)) == len(kinds)
    assert set(PERMANENT) <= set(kinds)


def test_the_name_of_a_key_contains_its_kind():
    """Every key of Keys contains its kind, and a foreign key has none."""
    for key in one_of_each(Keys("acme.2_x-y", 1024)):
        kind = "quarantine" if "quarantine" in key else key.split(":")[2]
        assert kind_of(key) == kind, key
    for foreign in (
        "",
        "acme",
        "acme:inbound",
        "acme:{x}:inbound",
        "acme:{0}",
        "{0}:seen:k",
        "a:{0}b:seen",
        "quarantine",
    ):
        assert kind_of(foreign) == "", foreign


@given(st.text(), st.integers(min_value=1, max_value=64))
def test_partition(subject, partitions):
    """Every subject has one partition, in range."""
    keys = Keys("router", partitions)
    assert 0 <= keys.partition_of(subject) < partitions
    assert keys.partition_of(subject) == Keys("other", partitions).partition_of(subject)


@pytest.mark.parametrize(
    ("subject", "partition"),
    [
        pytest.param("conv_conversation_1", 5, id="conversation"),
        pytest.param("SMS|+14155550101|+15557650001", 1, id="pair"),
        pytest.param("", 0, id="empty"),
        pytest.param("\ud800", 1, id="lone-surrogate"),
    ],
)
def test_partition_is_the_same_in_every_version(subject, partition):
    """Partitions are stored data: a release with another function would split conversations."""
    assert Keys("router", 7).partition_of(subject) == partition


@given(st.text(min_size=1, max_size=40), st.integers(min_value=1, max_value=16))
def test_conversation_and_its_streams_share_a_slot(conversation_id, partitions):
    """Everything that one commit touches has the same hash tag."""
    keys = Keys("router", partitions)
    tag = f"{{{keys.partition_of(conversation_id)}}}"
    assert keys.conversation(ACCOUNT, conversation_id).split(":")[1] == tag
    assert keys.participants(keys.partition_of(conversation_id), "ai-agent").split(":")[1] == tag


def test_keys_of_the_quarantine_share_a_slot():
    """All keys of the quarantine hash to the slot of its stream, whose whole key is the others' tag."""
    stream = KEYS.quarantine()
    assert "{" not in stream
    notes = [KEYS.quarantine_order("x"), KEYS.quarantine_known(), KEYS.quarantine_repeats(), KEYS.quarantine_bytes()]
    notes += [KEYS.quarantine_ours()]
    assert {key_slot(key.encode()) for key in notes} == {key_slot(stream.encode())}


def test_long_names_make_bounded_keys():
    """A name of any length has its own key, of its kind and slot, with bounded length."""
    keys = {KEYS.route("AC1", f"EMAIL|{'x' * 30_000}{number}@h|ours") for number in range(3)}
    assert len(keys) == 3
    for key in keys:
        assert key.startswith("acme:{0}:route:~")
        assert len(key) <= MAX_KEY
    assert KEYS.seen(0, "x" * 30_000) != KEYS.communication("AC1", "x" * 30_000, "a")


@given(st.text(st.sampled_from("{}:\r\n\0\u2028a")))
def test_braces_and_line_breaks_in_names_change_no_slot(name):
    """The hash tag is the partition's, whatever a name from outside contains."""
    slot = key_slot(KEYS.inbound(0).encode())
    for key in (KEYS.seen(0, name), KEYS.route("AC1", name), KEYS.conversation("AC1", name), KEYS.call("AC1", name)):
        assert key_slot(key.encode()) == slot
