"""How long faults held up the clients that they hit."""

from __future__ import annotations

from parlour.chaos.judge import Line
from parlour.chaos.resumption import Done, Heard, resumptions
from parlour.chaos.schedule import Kind


def heard(*times: tuple[float, float]) -> Heard:
    """Return what a client saw: when each line was said, and when it was seen."""
    lines = [Line(offset, f"s-{offset}", "ada", round(1000 * said), "x") for offset, (said, _) in enumerate(times, 1)]
    return Heard(lines, [seen for _, seen in times])


def killed(began: float, *clients: str, ended: float | None = None) -> Done:
    """Return a kill of a node that had these clients."""
    return Done(Kind.KILL_NODE, "n1", began, began if ended is None else ended, clients)


def test_the_latest_message_counts() -> None:
    """A stream was held up for as long as the first message said after the fault had to wait, in any room."""
    streams = {
        "ada": [heard((99.9, 99.91), (100.1, 100.75), (100.5, 100.76), (101.5, 101.51)), heard((100.2, 100.76))],
        "bob": [heard((100.0, 100.25))],
        "cy": [heard((100.0, 109.0))],  # was not hit
    }
    (found,) = resumptions([killed(100.0, "ada", "bob")], streams)
    assert (found.kind, found.done, found.clients) == (Kind.KILL_NODE, 1, 2)
    assert (round(found.p50 or 0, 3), round(found.longest or 0, 3)) == (0.25, 0.65)


def test_what_was_said_outside_a_fault_is_not_its_doing() -> None:
    """Neither what was late before it nor what is late afterwards is blamed on a fault."""
    streams = {"ada": [heard((99.0, 100.5), (100.1, 100.6), (102.0, 105.0))]}
    (found,) = resumptions([killed(100.0, "ada")], streams)
    assert round(found.longest or 0, 3) == 0.5


def test_who_was_told_nothing_was_not_held_up() -> None:
    """A client to which nothing was said meanwhile has no time to resume, and a kind without any shows none."""
    (found,) = resumptions([killed(100.0, "ada", "bob")], {"ada": [heard((50.0, 50.1))]})
    assert (found.done, found.clients, found.p50, found.longest) == (1, 0, None, None)


def test_a_fault_that_lasts_counts_to_its_end() -> None:
    """What is said while the fault lasts, and a second longer, belongs to it."""
    streams = {"ada": [heard((104.5, 107.0))]}
    (long,) = resumptions([killed(100.0, "ada", ended=104.0)], streams)
    (short,) = resumptions([killed(100.0, "ada")], streams)
    assert (long.longest, short.longest) == (2.5, None)
