"""The names that guests have at this node: taken in the directory, renewed, and released when a guest is gone.

This module owns the list of these names and the thread that renews and releases them; clients' threads take and leave
names. It must never hold its mutex while it asks the directory.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable

from parlour.directory.names import RENEWAL, Names, NameTakenError
from parlour.directory.store import DirectoryError
from parlour.node.people.refusal import RefusedClientError
from parlour.runtime.locks import make_lock
from parlour.runtime.logs import node_log
from parlour.runtime.threads import join_all, spawn
from parlour.wire.skeleton import skeleton

__all__ = ["Leases", "name_taken"]

RETRY = 1.0
"""Seconds until the directory is asked again after it has failed."""

_Key = tuple[str, str]  # the skeleton of a name and the session that has it


class _Hold:
    """A name that connections of one session have, as it was written last, and the address of the last one."""

    __slots__ = ("address", "connections", "name")

    def __init__(self) -> None:
        self.name = self.address = ""
        self.connections = 0


def name_taken(error: NameTakenError) -> RefusedClientError:
    """Return the refusal of a name that somebody else has."""
    return RefusedClientError("name_taken", str(error), name=error.free or None)


class Leases:
    """The names of the guests at one instance of a node.

    A name is held as long as a connection of its session is here, and for the grace period after the last one broke.
    """

    def __init__(
        self, name: str, names: Names, instance: str, lost: Callable[[str, RefusedClientError], object]
    ) -> None:
        """Name the thread `name`. Calls `lost` with a session whose name somebody else has got, and the refusal.

        That happens only if the node could not renew its leases for longer than they last.
        """
        self._name = name
        self._names = names
        self._instance = instance
        self._lost = lost
        # Guards _held, _due and _stopping. Rank 65.
        self._changed = threading.Condition(make_lock(65, "leases"))
        self._held: dict[_Key, _Hold] = {}
        self._due: list[tuple[float, _Key, str]] = []  # a heap: when to release which name, if no connection holds it
        self._stopping = False
        self._ended = False  # whether the leases had ended, and not all names are taken again; for the thread alone
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to renew; raises DirectoryError if the directory does not answer."""
        self._names.renew(self._instance)
        self._thread = spawn(self._name, self._run, vital=True)

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread and join it; the leases end by themselves, unless their sessions take them elsewhere."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            join_all([self._thread], timeout)

    def take(self, name: str, session: str, address: str) -> None:
        """Take a name for a session; raises RefusedClientError if somebody else has it, DirectoryError."""
        with self._changed:
            hold = self._held.setdefault((skeleton(name), session), _Hold())
            hold.name, hold.address = name, address
            hold.connections += 1
        try:
            self._names.take(name, session, self._instance, address)
        except BaseException as error:
            self._drop(name, session, None)
            if isinstance(error, NameTakenError):
                raise name_taken(error) from None
            raise

    def leave(self, name: str, session: str, grace: float) -> None:
        """Give a hold up; the last one's name is released after `grace` seconds, or, with 0, before this returns."""
        if self._drop(name, session, time.monotonic() + grace if grace else None) and not grace:
            self._release((skeleton(name), session), name)

    def forget(self, name: str, session: str) -> None:
        """Give a hold up and release nothing: the name is an account's now."""
        self._drop(name, session, None)

    def _drop(self, name: str, session: str, release_at: float | None) -> bool:
        """Take a hold off; if it was the last one, plan the release if there is one, and return True."""
        key = skeleton(name), session
        with self._changed:
            hold = self._held[key]
            hold.connections -= 1
            if hold.connections:
                return False
            del self._held[key]
            if release_at is not None:
                heapq.heappush(self._due, (release_at, key, name))
                self._changed.notify()
            return True

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """Renew the leases of this node, and release the names of guests that are gone."""
        renew_at = time.monotonic() + RENEWAL
        while True:
            with self._changed:
                while not self._stopping and (wait := self._next(renew_at) - time.monotonic()) > 0:
                    self._changed.wait(wait)
                if self._stopping:
                    return
                now = time.monotonic()
                due = heapq.heappop(self._due) if self._due and self._due[0][0] <= now else None
                gone = due is not None and due[1] not in self._held
            if now >= renew_at:
                renew_at = time.monotonic() + (RENEWAL if self._renew() else RETRY)
            if due is not None and gone:
                self._release(due[1], due[2])

    def _next(self, renew_at: float) -> float:
        """Return when there is work. The caller holds the mutex."""
        return min(renew_at, self._due[0][0]) if self._due else renew_at

    def _release(self, key: _Key, name: str) -> None:
        """Release a name; if the directory does not answer, plan to do it later."""
        session = key[1]
        try:
            self._names.release(name, session, self._instance)
            with self._changed:
                back = self._held.get(key)
            if back is not None:  # the session has come back meanwhile
                self._take_again(back, session)
        except DirectoryError:
            with self._changed:
                heapq.heappush(self._due, (time.monotonic() + RETRY, key, name))
                self._changed.notify()

    def _renew(self) -> bool:
        """Renew the leases, or take all names again if they had ended; return False if that has to be repeated."""
        try:
            self._ended = not self._names.renew(self._instance) or self._ended
            if self._ended:
                with self._changed:
                    held = [(hold, session) for (_, session), hold in self._held.items()]
                node_log.warning("the leases of %d names had ended: they are taken again", len(held))
                for hold, session in held:
                    self._take_again(hold, session)
                self._ended = False
        except DirectoryError:
            return False
        return True

    def _take_again(self, hold: _Hold, session: str) -> None:
        """Take a name whose lease had ended; if somebody else has it by now, its session loses it."""
        try:
            self._names.take(hold.name, session, self._instance, hold.address)
        except NameTakenError as error:
            self._lost(session, name_taken(error))
