"""The times to resume: how long faults held up the clients that they hit."""

from __future__ import annotations

from parlour.chaos.records import Record
from parlour.chaos.resumption import DoneFault, Heard, Times, resumptions
from parlour.chaos.schedule import Kind


def heard(*times: tuple[float, float]) -> Heard:
    """Return what a client saw, given when each record was said and when it was seen."""
    lines = [Record(offset, f"s-{offset}", "ada", round(1000 * said), "x") for offset, (said, _) in enumerate(times, 1)]
    return Heard(lines, [seen for _, seen in times])


def killed(began: float, *clients: str, ended: float | None = None) -> DoneFault:
    """Return the kill of a node with these clients."""
    return DoneFault(Kind.KILL_NODE, "n1", began, began if ended is None else ended, clients)


def test_the_latest_message_counts() -> None:
    """A stream was held up for as long as the first message said after the fault had to wait, in any room."""
    streams = {
        "ada": [heard((99.9, 99.91), (100.1, 100.75), (100.5, 100.76), (101.5, 101.51)), heard((100.2, 100.76))],
        "bob": [heard((100.0, 100.25))],
        "cy": [heard((100.0, 109.0))],  # was not hit
    }
    (found,) = resumptions([killed(100.0, "ada", "bob")], streams, {})
    assert (found.kind, found.done, found.clients) == (Kind.KILL_NODE, 1, 2)
    assert (round(found.resumed.p50 or 0, 3), round(found.resumed.longest or 0, 3)) == (0.25, 0.65)


def test_messages_outside_the_fault() -> None:
    """A delay before the fault, or long after it, is not blamed on the fault."""
    streams = {"ada": [heard((99.0, 100.5), (100.1, 100.6), (102.0, 105.0))]}
    (found,) = resumptions([killed(100.0, "ada")], streams, {})
    assert round(found.resumed.longest or 0, 3) == 0.5


def test_clients_without_messages() -> None:
    """A client for which no message came has no time to resume, and a kind without such times shows none."""
    (found,) = resumptions([killed(100.0, "ada", "bob")], {"ada": [heard((50.0, 50.1))]}, {})
    assert (found.done, found.clients, found.resumed.p50, found.resumed.longest) == (1, 0, None, None)


def test_long_fault() -> None:
    """Messages during the whole fault, and a second longer, count."""
    streams = {"ada": [heard((104.5, 107.0))]}
    (long,) = resumptions([killed(100.0, "ada", ended=104.0)], streams, {})
    (short,) = resumptions([killed(100.0, "ada")], streams, {})
    assert (long.resumed.longest, short.resumed.longest) == (2.5, None)


def test_direct_fault_is_to_blame() -> None:
    """A client whose node died while a broker was away waited for its node; other clients show what the broker cost."""
    broker = DoneFault(Kind.KILL_BROKER, "b1", 99.0, 103.0, ("ada", "bob"))
    streams = {"ada": [heard((100.1, 101.1))], "bob": [heard((100.1, 100.2))]}
    node, other = resumptions([broker, killed(100.0, "ada")], streams, {})
    assert (node.kind, round(node.resumed.longest or 0, 3)) == (Kind.KILL_NODE, 1.0)
    assert (other.clients, round(other.resumed.longest or 0, 3)) == (1, 0.1)


def test_silence_without_a_log_counts() -> None:
    """Posts that wait for the log get the time of its return: the first message shows how long it was away."""
    restart = DoneFault(Kind.RESTART_REDIS, "redis", 100.0, 101.0, ("ada",))
    (found,) = resumptions([restart], {"ada": [heard((101.25, 101.5), (101.5, 101.75))]}, {})
    assert found.resumed.longest == 1.5


def test_client_sent_to_a_halted_node() -> None:
    """A client whose node died and that came to a halted node counts for the halt, and only once."""
    halt = DoneFault(Kind.STOP_NODE, "n2", 99.0, 103.0, ("ada", "bob"))
    streams = {"ada": [heard((100.1, 103.1))], "bob": [heard((100.1, 103.2))]}
    node, other = resumptions([killed(100.0, "ada"), halt], streams, {})
    assert (node.kind, node.done, node.clients) == (Kind.KILL_NODE, 1, 0)
    assert (other.kind, other.clients) == (Kind.STOP_NODE, 2)


def test_missing_log_is_to_blame() -> None:
    """A client whose node died while the log was away would have heard nothing anyway."""
    away = DoneFault(Kind.SUSPEND_LOG, "log", 95.0, 105.0, ("ada",))
    node, log = resumptions([killed(100.0, "ada"), away], {"ada": [heard((105.25, 105.5))]}, {})
    assert (node.kind, node.clients) == (Kind.KILL_NODE, 0)
    assert (log.clients, log.resumed.longest) == (1, 10.5)


def test_long_fault_around_a_severe_one() -> None:
    """A message that was on its way while the client was away is not late because of a cut link."""
    link = DoneFault(Kind.CUT_RELAY, "n1 n2", 0.0, 60.0, ("ada",))
    streams = {"ada": [heard((10.0, 11.25), (29.5, 31.5), (30.25, 31.5), (50.0, 50.5))]}
    node, cut = resumptions([link, killed(30.0, "ada")], streams, {})
    assert (node.kind, node.resumed.longest) == (Kind.KILL_NODE, 1.25)
    assert (cut.clients, cut.resumed.longest) == (1, 1.25)


def test_time_since_the_answer() -> None:
    """The part of a delay after a broker's last answer is the way back; without an answer it is all of the delay."""
    streams = {
        "ada": [heard((100.0, 102.0), (101.75, 102.0), (102.0, 103.0))],  # told, before it saw any of this, and later
        "bob": [heard((100.0, 101.0))],  # told long ago
        "cy": [heard((100.0, 101.25))],  # never told
    }
    told = {"ada": [90.0, 100.5, 101.5, 102.5], "bob": [90.0]}
    (found,) = resumptions([killed(100.0, "ada", "bob", "cy", ended=101.5)], streams, told)
    assert found.resumed == Times(1.25, 2.0, 2.0)
    assert found.answered == Times(1.0, 1.25, 1.25)
