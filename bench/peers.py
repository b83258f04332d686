"""The servers with which parlour is compared, each with settings under which it does not slow its clients down.

This module owns those settings, which are the only difference from Debian's; it runs on the bench's own thread. It must
never use a server that runs already, nor Debian's own configuration files.
"""

from __future__ import annotations

from pathlib import Path

from bench.server import Server

__all__ = ["Floor", "Inspircd", "Mosquitto", "Nats", "Ngircd", "Redis"]

BUILD = Path(__file__).with_name("build")


class Floor(Server):
    """A bare server in C: the least cost of fan-out."""

    protocol = "bare"

    def start(self) -> None:
        """Start the server."""
        self.launch(BUILD / "floor", str(self.port))
        self.await_port(self.port)

    @classmethod
    def version(cls) -> str:
        """Return its source file, as it has no version."""
        return "bench/load/floor.c"


class Redis(Server):
    """Redis pub/sub, which does not cut off subscribers that lag."""

    protocol = "redis"
    package = "redis-server"
    asked = ("redis-server", "--version")

    def command(self, *options: str) -> list[str]:
        """Return the command line with these additional options."""
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--save", "", "--dir"]
        command += [str(self.folder), "--maxclients", "20000", *options]
        return [*command, "--client-output-buffer-limit", "pubsub 0 0 0"]

    def start(self) -> None:
        """Start the server."""
        self.launch(*self.command())
        self.await_port(self.port)


class Nats(Server):
    """NATS, with up to 1 GiB that may wait for a client."""

    protocol = "nats"
    package = "nats-server"
    asked = ("nats-server", "--version")

    def start(self) -> None:
        """Start the server."""
        settings = f"listen: 127.0.0.1:{self.port}\nmax_pending: 1GB\nwrite_deadline: 60s\nmax_connections: 20000\n"
        self.launch("nats-server", "-c", self.write("nats.conf", settings))
        self.await_port(self.port)


class Ngircd(Server):
    """ngIRCd, without penalties or connection limits."""

    protocol = "irc"
    entering = 8  # Its queue of connections that it has not accepted has ten places.
    package = "ngircd"
    asked = ("ngircd", "--version")

    def start(self) -> None:
        """Start the server."""
        settings = f"""
[Global]
Name = bench.localhost
Info = bench
Listen = 127.0.0.1
Ports = {self.port}
MotdPhrase = bench
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxPenaltyTime = 0
PingTimeout = 3600
[Options]
DNS = no
Ident = no
PAM = no
"""
        self.launch("ngircd", "--nodaemon", "--config", self.write("ngircd.conf", settings))
        self.await_port(self.port)


class Inspircd(Server):
    """InspIRCd, without fake lag or clone limits, and with long queues."""

    protocol = "irc"
    package = "inspircd"
    asked = ("inspircd", "--version")

    def start(self) -> None:
        """Start the server."""
        settings = f"""
<server name="bench.localhost" description="bench" network="bench">
<admin name="bench" nick="bench" email="bench@localhost">
<bind address="127.0.0.1" port="{self.port}" type="clients">
<connect allow="*" timeout="60" pingfreq="1h" threshold="1000000" commandrate="1000000000" fakelag="no" recvq="1M"
 hardsendq="1G" softsendq="1G" localmax="100000" globalmax="100000" limit="100000" maxchans="20" maxconnwarn="no"
 resolvehostnames="no" useident="no">
<performance nouserdns="yes" netbuffersize="65534" somaxconn="4096" softlimit="100000">
<log method="file" type="*" level="default" target="{self.folder}/inspircd.log">
<pid file="{self.folder}/inspircd.pid">
<files motd="">
"""
        path = self.write("inspircd.conf", settings)
        self.launch("inspircd", "--nofork", "--runasroot", "--config", path)
        self.await_port(self.port)


class Mosquitto(Server):
    """Mosquitto, with unlimited queues for its clients."""

    protocol = "mqtt"
    max_round = 1_000_000
    package = "mosquitto"
    asked = ("mosquitto", "-h")

    def start(self) -> None:
        """Start the server."""
        settings = f"""
listener {self.port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
user root
log_type error
"""
        self.launch("mosquitto", "-c", self.write("mosquitto.conf", settings))
        self.await_port(self.port)
