"""Floods of sign-ins: they delay one another, and nobody who chats."""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import ExitStack

import pytest

from parlour.directory.passwords import make_password
from parlour.node import NodeSettings
from parlour.node.people import passwordqueue
from parlour.node.people.passwordqueue import PasswordQueue
from parlour.node.people.refusal import RefusedClientError
from parlour.runtime.threads import join_all, spawn
from support.cluster import RawClient, cluster
from support.netcat import netcat
from support.waiting import eventually

LOGINS = 500

PASSWORD = "correct horse"


def delays(client: RawClient, posts: int) -> list[float]:
    """Return the seconds that each post took until its sender saw it."""
    taken: list[float] = []
    for number in range(posts):
        began = time.monotonic()
        client.say("lobby", f"{number}")
        client.texts(1)
        taken.append(time.monotonic() - began)
    return taken


def test_flood_of_sign_ins_does_not_delay_chat() -> None:
    """Posts go on at their usual pace while 500 sign-ins wait for their passwords to be checked."""
    with cluster(1, NodeSettings(admits=5000.0)) as running, ExitStack() as closing:
        node = running.nodes[0]
        ada = closing.enter_context(RawClient(running.address, "ada"))
        ada.join("lobby")
        quiet = delays(ada, 100)
        # The right password: wrong ones are soon refused without a look at them.
        node.people.directory.accounts.add("bob", make_password(PASSWORD))
        for _ in range(LOGINS):
            nc = closing.enter_context(netcat(node))
            nc.send({"type": "hello", "name": "bob", "password": PASSWORD})
        eventually(lambda: node.people.passwords.waiting > LOGINS // 2)
        flooded = delays(ada, 400)
        assert node.people.passwords.waiting > LOGINS // 2
        # The two threads that check passwords take the processors; a post still is a matter of milliseconds.
        assert statistics.median(flooded) < max(0.03, 5 * statistics.median(quiet))
        assert statistics.quantiles(flooded, n=20)[-1] < 0.25


@pytest.fixture
def small_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let two sign-ins wait."""
    monkeypatch.setattr(passwordqueue, "WAITING", 2)


@pytest.mark.usefixtures("small_queue")
def test_queue_is_bounded() -> None:
    """Two sign-ins are worked on, two wait for a while, and others are told at once to come later."""
    passwords = PasswordQueue("passwords", timeout=0.5)
    passwords.start()
    going, done = threading.Event(), []
    working = threading.Barrier(3)

    def work() -> None:
        working.wait(10)
        going.wait(10)

    def wait() -> None:
        try:
            passwords.do(lambda: done.append("too late"))
        except RefusedClientError as refusal:
            done.append(refusal.code)

    threads = [spawn(f"working-{n}", passwords.do, work) for n in range(2)]
    working.wait(10)
    threads += [spawn(f"waiting-{n}", wait) for n in range(2)]
    eventually(lambda: passwords.waiting == 2)
    with pytest.raises(RefusedClientError) as refused:
        passwords.do(lambda: done.append("never"))
    assert (refused.value.code, refused.value.retry_after) == ("busy", 2.0)
    assert passwords.waiting == 2
    eventually(lambda: done == ["busy", "busy"])
    going.set()
    join_all(threads, 10)
    assert passwords.do(lambda: "a free thread") == "a free thread"
    passwords.stop()
    assert done == ["busy", "busy"]
