"""Several simulated machines on this one: network namespaces with their own addresses, joined by a bridge.

This module owns the namespaces, which contain only a test's own processes; it runs on the test's thread. It must never
touch the machine's own network, nor leave a namespace behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MISSING", "SLOWED", "Hosts", "hosts"]

SLOWED = {
    "rate": ("tbf", "rate", "1mbit", "burst", "16kb", "latency", "300ms"),
    "delay and loss": ("netem", "delay", "80ms", "20ms", "loss", "3%"),
}
"""Bad links, as arguments of `tc`: one with little bandwidth, and one with delay and loss."""


def _try() -> str:
    if os.geteuid() != 0 or not shutil.which("ip"):
        return "only root with iproute2 can make network namespaces: several machines are NOT TESTED"
    name = f"parlour-try-{os.getpid()}"  # several test processes may try at once
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return f"this kernel makes no network namespaces ({made.stderr.strip()}): NOT TESTED" if made.returncode else ""


MISSING = _try()
"""Why there can be no such hosts here, or ""."""


class Hosts:
    """Named hosts with the addresses 10.77.0.1, 10.77.0.2, … in the order of their names."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._mark = f"parlour-{os.getpid()}"
        self.address = {name: f"10.77.0.{number}" for number, name in enumerate(names, 1)}

    def _ip(self, *arguments: str, host: str | None = None) -> None:
        inside = ["-n", f"{self._mark}-{host}"] if host else []
        subprocess.run(["ip", *inside, *arguments], check=True, capture_output=True, text=True, timeout=10)

    def build(self) -> None:
        """Make the hosts and the switch that joins them."""
        self._ip("netns", "add", f"{self._mark}-switch")
        self._ip("link", "add", "bridge", "type", "bridge", host="switch")
        self._ip("link", "set", "bridge", "up", host="switch")
        for name, address in self.address.items():
            self._ip("netns", "add", f"{self._mark}-{name}")
            self._ip(
                "link",
                "add",
                name,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "netns",
                f"{self._mark}-{name}",
                host="switch",
            )
            self._ip("link", "set", name, "master", "bridge", host="switch")
            self._ip("link", "set", name, "up", host="switch")
            self._ip("addr", "add", f"{address}/24", "dev", "eth0", host=name)
            self._ip("link", "set", "eth0", "up", host=name)
            self._ip("link", "set", "lo", "up", host=name)

    def tear_down(self) -> None:
        """Remove everything, including what is in the namespaces."""
        for name in ("switch", *self.address):
            subprocess.run(["ip", "netns", "del", f"{self._mark}-{name}"], capture_output=True, check=False, timeout=10)

    def on(self, host: str) -> list[str]:
        """Return the first words of a command that runs on a host."""
        return ["ip", "netns", "exec", f"{self._mark}-{host}"]

    def cut(self, host: str) -> None:
        """Disconnect the host from the network."""
        self._ip("link", "set", host, "down", host="switch")

    def join(self, host: str) -> None:
        """Connect the host again."""
        self._ip("link", "set", host, "up", host="switch")

    def slow(self, host: str, how: tuple[str, ...]) -> str:
        """Make the host's link bad in both directions; return why this kernel cannot, or ""."""
        for command in (
            [*self.on(host), "tc", "qdisc", "add", "dev", "eth0"],
            [*self.on("switch"), "tc", "qdisc", "add", "dev", host],
        ):
            done = subprocess.run([*command, "root", *how], capture_output=True, text=True, check=False, timeout=10)
            if done.returncode:
                return done.stderr.strip()
        return ""


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Run hosts of these names until the block ends."""
    made = Hosts(names)
    try:
        made.build()
        yield made
    finally:
        made.tear_down()
