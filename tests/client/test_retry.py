"""The plan of attempts to come back, without a chat: outcomes and times in, decisions out."""

from __future__ import annotations

from parlour.client import NodeError, RefusedError, UnavailableError
from parlour.client.dialing import DialError
from parlour.client.retry import Retry
from parlour.wire.control import Refused


def full(node: str) -> DialError:
    """Return the error of a node that has no place."""
    return DialError(node, "127.0.0.1:1", NodeError("no place", "full"))


def refusal(text: str, code: str, retry_after: float | None) -> RefusedError:
    """Return the error of a broker that refuses."""
    return RefusedError(Refused(code, text, retry_after), "127.0.0.1:6000")


def test_the_first_attempt_is_at_once() -> None:
    """It names the node that failed, and no other attempt follows until its outcome is known."""
    retry = Retry("ada", None)
    assert retry.next(5.0) is None
    retry.lost("n1", since=0.0, now=10.0)
    retry.begin(10.0)
    assign = retry.next(10.0)
    assert assign is not None
    assert (assign.name, assign.failed) == ("ada", ["n1"])
    assert retry.next(99.0) is None
    assert retry.due() == float("inf")


def test_failed_nodes_are_named_until_no_other_is_left() -> None:
    """Then all of them are tried again, at once."""
    retry = Retry("ada", None)
    retry.lost("n1", since=0.0, now=10.0)
    assert retry.failed(full("n2"), 10.0) is None
    assign = retry.next(retry.due())
    assert assign is not None
    assert assign.failed == ["n1", "n2"]
    assert retry.failed(refusal("none is left", "no_node", 5.0), 20.0) is None
    assign = retry.next(20.0)
    assert assign is not None
    assert assign.failed == []


def test_a_final_refusal_ends_it() -> None:
    """A refusal that names no time is final; brokers that do not answer may come back."""
    assert Retry("ada", None).failed(UnavailableError("no broker answers"), 0.0) is None
    assert Retry("ada", None).failed(refusal("this name is banned", "banned", None), 0.0) == "this name is banned"


def test_the_time_is_limited_only_on_request() -> None:
    """With `give_up` the reason names the last trouble, too."""
    patient, hasty = Retry("ada", None), Retry("ada", 30.0)
    for retry in (patient, hasty):
        retry.lost("n1", since=0.0, now=10.0)
        retry.failed(UnavailableError("no broker answers"), 11.0)
    assert patient.end(1e9) is None
    assert hasty.end(39.9) is None
    assert hasty.due() <= 40.0
    assert str(hasty.end(40.0)).endswith("within 30 s: no broker answers")
