"""The comparison of SDKs with the sandbox, without the SDKs: no operation without a call, no difference unseen."""

from __future__ import annotations

import pytest

from tests.interop.sdk_steps import steps
from tests.interop.sdk_types import check_object, check_type, compare, differ, is_kept, read_types
from tests.interop.sdks import offered

DECLARED = """
/**
 * A conversation: its { braces } in a comment are none of ours
 */
export type Status = "ACTIVE" | "CLOSED";
export declare class Address {
    "channel": Status;
    "channelId"?: string | null;
}
export declare class Instance {
    protected _version: V2;
    constructor(_version: V2, id?: string);
    createdAt: Date;
    count?: number;
    addresses?: Array<Address>;
    metadata?: {
        [key: string]: string;
    };
    toJSON(): {
        createdAt: Date;
    };
}
"""
WRONG = {"channel": "CLOSED", "channelId": 1}
WHOLE = {"createdAt": "2026-01-01T12:00:00Z", "count": 1, "addresses": [{"channel": "ACTIVE"}], "metadata": {"a": "b"}}


def test_every_operation_of_the_sandbox_has_a_call():
    """A new public route of the sandbox needs a step in tests/interop/sdk_v2_steps.py or sdk_classic_steps.py."""
    assert set(offered()) - {step.route for step in steps()} == set()


def test_what_is_declared_fits():
    """A whole object has no problems, and null fits every type."""
    types = read_types(DECLARED)
    assert check_object(WHOLE, "Instance", types, "it") == []
    assert check_object(dict.fromkeys(WHOLE), "Instance", types, "it") == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"createdAt": 7}, "it.created_at: 7 is no Date"),
        ({"createdAt": "yesterday"}, "it.created_at: 'yesterday' is no Date"),
        ({"count": True}, "it.count: True is no number"),
        ({"count": "1"}, "it.count: '1' is no number"),
        ({"addresses": {}}, "it.addresses: {} is no list"),
        ({"addresses": [{"channel": "ASLEEP"}]}, 'it.addresses[].channel: \'ASLEEP\' is not in "ACTIVE" | "CLOSED"'),
        ({"addresses": [{}]}, "it.addresses[].channel: missing"),
        (
            {"addresses": [{"channel": "CLOSED", "channelId": 1}]},
            "it.addresses[].channel_id: 1 is not in string | null",
        ),
        ({"metadata": {"a": 1}}, "it.metadata.a: 1 is no string"),
        ({"more": 1}, "it.more: unknown to the SDK"),
    ],
)
def test_what_is_not_declared_is_found(change, problem):
    """Wrong types, values outside of enumerations, missing and unknown fields are found at any depth."""
    assert check_object(WHOLE | change, "Instance", read_types(DECLARED), "it") == [problem]


def test_a_missing_field_is_found():
    """A field that the SDK always expects must be there."""
    assert check_object({}, "Instance", read_types(DECLARED), "it") == ["it.created_at: missing"]
    assert check_type({"a": {}}, "Record<string, Address>", read_types(DECLARED), "it") == ["it.a.channel: missing"]


def test_an_object_is_compared_with_the_response():
    """A time made up for a missing field, another value, and a field that the SDK does not show are found."""
    now = {"$time": "2026-11-30T12:00:00Z"}
    wire = {"id": "a", "createdAt": "2026-01-01T12:00:00.123Z", "name": None, "list": [{"a": 1}]}
    seen = {"id": "a", "created_at": {"$time": "2026-01-01T12:00:00Z"}, "list": [{"a": 1, "b": None}], "name": None}
    assert compare(wire, seen) == []
    assert compare(wire, seen | {"completedAt": now}) == [f"completed_at: {now} although the response does not have it"]
    assert compare(wire, seen | {"id": "b"}) == ["id: 'b' for 'a'"]
    assert compare(wire, seen | {"list": [{"a": True}]}) == ["list: [{'a': True}] for [{'a': 1}]"]
    assert compare(wire | {"more": 1}, seen) == ["more: not in the SDK's object"]


def test_two_sdks_are_compared():
    """Another kind of value is a difference; a field that is missing or null is none."""
    assert (
        differ({"createdAt": {"$time": "x"}, "id": "a"}, {"created_at": {"$time": "y"}, "id": "b", "name": None}) == []
    )
    assert differ({"createdAt": {"$time": "x"}}, {"created_at": "x"}) == ["created_at: time and text"]


def test_a_response_may_know_more_than_was_sent():
    """What was sent must be there as it was, within objects and lists too."""
    assert is_kept({"a": [{"b": 1}]}, {"a": [{"b": "1", "c": None}], "d": 2})
    assert not is_kept({"a": [{"b": 1}]}, {"a": []})
    assert not is_kept({"a": 1}, {})
