"""Attempts to sign in that fail: each makes the next one wait for longer, on all nodes, and goes to the trail.

This module owns that rule; the threads that check passwords run it. It must never tell whether an account exists.
"""

from __future__ import annotations

from parlour.directory.directory import Directory
from parlour.node.people.refusal import RefusedClientError, bad_login
from parlour.wire.skeleton import skeleton

__all__ = ["Attempts"]


class Attempts:
    """The attempts of everybody, as the directory has them."""

    def __init__(self, directory: Directory) -> None:
        self._failures = directory.failures
        self._trail = directory.trail

    def check(self, name: str, address: str) -> None:
        """Raise RefusedClientError if an attempt for this name or from this address comes too early."""
        wait = self._failures.wait(skeleton(name), address)
        if wait > 0:
            text = f"too many sign-ins for {name} or from your address have failed: try again in {wait:.0f} s"
            raise RefusedClientError("too_many_logins", text, wait)

    def failed(self, name: str, address: str, how: str) -> RefusedClientError:
        """Note a failure, and return the refusal for the client; `how` names what was wrong, for the operator."""
        self._failures.note(skeleton(name), address)
        self._trail.add("sign-in failed", name, {"address": address, "how": how})
        return bad_login()

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of somebody who has signed in."""
        self._failures.forget(skeleton(name), address)
