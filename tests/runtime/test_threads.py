"""Threads are named, start and stop within a deadline, and report their failures."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from parlour.runtime.threads import FailedThreadError, Service, StuckThreadError, join_all, spawn
from parlour.wire.errors import ParlourError
from support.waiting import MS, eventually


class Scripted(Service):
    """A service that does what a test says before it is ready, then waits for a wake-up."""

    def __init__(self, before: Callable[[], object] = lambda: None, deaf: bool = False) -> None:
        super().__init__("scripted")
        self.before = before
        self.deaf = deaf
        self.woken = threading.Event()
        self.closed = False

    def run(self) -> None:
        """Set up as the test says, be ready, wait, close."""
        self.before()
        self.ready()
        self.woken.wait(10_000 * MS)
        self.closed = True

    def wake(self) -> None:
        """End the wait, unless the test wants it to go on."""
        if not self.deaf:
            self.woken.set()


def test_spawn_names_the_thread() -> None:
    """A spawned thread has the given name and arguments, and cannot keep the process alive."""
    seen: list[tuple[str, bool, int]] = []

    def body(number: int) -> None:
        seen.append((threading.current_thread().name, threading.current_thread().daemon, number))

    join_all([spawn("n1-client-17", body, 17)], timeout=10)
    assert seen == [("n1-client-17", True, 17)]


def test_join_names_the_stuck() -> None:
    """The error names the threads that do not stop, not the others; one deadline holds for all."""
    end = threading.Event()
    threads = [spawn(f"stuck-{number}", end.wait, 10) for number in range(3)]
    done = spawn("done", lambda: None)
    with pytest.raises(StuckThreadError, match=r"^did not stop within 0\.05 s: stuck-0, stuck-1, stuck-2$"):
        join_all([done, *threads], timeout=0.05)
    end.set()
    join_all([done, *threads], timeout=10)


def test_a_thread_does_not_wait_for_itself() -> None:
    """A thread may join a list that contains itself."""
    joined: list[bool] = []

    def join_itself() -> None:
        join_all([threading.current_thread()], timeout=0.05)
        joined.append(True)

    join_all([spawn("joiner", join_itself)], timeout=10)
    assert joined


def test_start_returns_when_ready_and_stop_when_closed() -> None:
    """After `start` the thread is set up; after `stop` it has closed everything."""
    service = Scripted()
    service.start()
    assert [thread.name for thread in threading.enumerate()].count("scripted") == 1
    service.stop()
    assert service.closed
    assert "scripted" not in [thread.name for thread in threading.enumerate()]


def test_stop_is_harmless() -> None:
    """A service may be stopped before its start, and again after its stop."""
    service = Scripted()
    service.stop()
    service = Scripted()
    service.start()
    service.stop()
    service.stop()


@pytest.mark.parametrize(
    "error",
    [OSError(98, "in use"), ParlourError("say what to do"), TimeoutError("a timeout of its own"), KeyboardInterrupt()],
    ids=lambda error: type(error).__name__,
)
def test_start_raises_what_run_raised(error: BaseException) -> None:
    """An exception in the thread before it is ready comes out of `start` at once and unchanged."""

    def fail() -> None:
        raise error

    service = Scripted(before=fail)
    with pytest.raises(type(error)) as caught:
        service.start(timeout=10)
    assert caught.value is error
    service.stop()


def test_an_early_end_is_told_at_once() -> None:
    """A thread that returns before it is ready does not keep `start` waiting."""

    class Short(Scripted):
        def run(self) -> None:
            """Return at once."""

    service = Short()
    with pytest.raises(StuckThreadError, match="scripted ended before it was ready"):
        service.start(timeout=60)


def test_a_slow_start_is_named() -> None:
    """A thread that is not ready by the deadline is named; it can still be stopped."""
    gate = threading.Event()
    service = Scripted(before=lambda: gate.wait(10))
    with pytest.raises(StuckThreadError, match=r"scripted did not start within 0\.05 s"):
        service.start(timeout=0.05)
    gate.set()
    service.stop()
    assert service.closed


def test_a_stuck_service_is_named() -> None:
    """A thread that ignores its wake-up is named when the deadline is over."""
    service = Scripted(deaf=True)
    service.start()
    with pytest.raises(StuckThreadError, match=r"did not stop within 0\.05 s: scripted"):
        service.stop(timeout=0.05)
    service.woken.set()
    service.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_later_fault_is_not_swallowed() -> None:
    """A failure after the start reaches the interpreter's hook, in a line with the thread's name."""
    caught: list[BaseException | None] = []

    class Failing(Scripted):
        def run(self) -> None:
            """Be ready, then fail."""
            self.ready()
            raise ValueError("too late\nfor start")

    previous = threading.excepthook
    threading.excepthook = lambda hook: caught.append(hook.exc_value)
    try:
        service = Failing()
        service.start()
        eventually(lambda: caught, what="the hook to be called")
        service.stop()
    finally:
        threading.excepthook = previous
    (failure,) = caught
    assert isinstance(failure, FailedThreadError)
    assert str(failure) == "the thread scripted failed (a bug in parlour): ValueError: too late for start"
    assert isinstance(failure.__cause__, ValueError)


def test_the_system_shows_thread_names() -> None:
    """`top -H` shows an operator which thread is busy, however long the node's name is."""
    known = Future[str]()
    thread = spawn(
        "a-node-with-a-long-name-relay",
        lambda: known.set_result(Path(f"/proc/self/task/{threading.get_native_id()}/comm").read_text()),
    )
    join_all([thread], 5.0)
    assert known.result(0) == "long-name-relay\n"
