"""The two XMPP servers with multi-user chat, in a module of their own because their settings are long.

This module owns those settings; it runs on the bench's own thread. It must never leave Erlang's port mapper behind: the
bench's ejabberd belongs to no Erlang cluster.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.server import Server

__all__ = ["Ejabberd", "Prosody"]


HELLO = b"<stream:stream to='localhost' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
"""The first bytes of a client; the port may be open long before the server answers them."""

PACKAGED = ("dpkg-query", "-W", "-f", "${Version}")
"""Prints a package's version: these programs print their own only while they run, or within a long report."""


class Ejabberd(Server):
    """ejabberd: anonymous users, no shapers, and rooms without presence."""

    protocol = "xmpp"
    package = "ejabberd"
    asked = (*PACKAGED, "ejabberd")
    max_round = 200_000

    def start(self) -> None:
        """Start the server without its own script, which would change the user and start a port mapper."""
        settings = f"""
hosts: [localhost]
loglevel: warning
listen:
  -
    port: {self.port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 65536
    backlog: 4096
    shaper: none
    access: all
auth_method: [anonymous]
anonymous_protocol: sasl_anon
allow_multiple_connections: true
modules:
  mod_muc:
    hosts: [rooms.localhost]
    access: all
    max_users: 20000
    history_size: 0
    min_message_interval: 0
    min_presence_interval: 0
    default_room_options:
      presence_broadcast: []
      max_users: 20000
"""
        environment = {
            **os.environ,
            "EJABBERD_CONFIG_PATH": str(self.write("ejabberd.yml", settings)),
            "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_LIBS": _libraries(),
            "ERL_MAX_PORTS": "32000",
            "ERL_CRASH_DUMP_BYTES": "0",
            "HOME": str(self.folder),
        }
        command = ["erl", "+K", "true", "+P", "250000", "-noinput", "-mnesia", "dir", f'"{self.folder}"']
        self.launch(*command, "-s", "ejabberd", environment=environment)
        self.await_port(self.port, HELLO, b"</stream:features>")


def _libraries() -> str:
    """Return the folder of ejabberd's Erlang libraries on Debian."""
    return str(next(Path("/usr/lib").glob("*/ejabberd-*/ebin"), Path("/usr/lib/-/-")).parents[1])


class Prosody(Server):
    """Prosody: anonymous users, and rooms without presence."""

    protocol = "xmpp"
    package = "prosody"
    asked = (*PACKAGED, "prosody")
    max_round = 200_000

    def start(self) -> None:
        """Start the server."""
        settings = f"""
run_as_root = true
pidfile = "{self.folder}/prosody.pid"
data_path = "{self.folder}"
log = {{ warn = "{self.folder}/prosody.log" }}
modules_enabled = {{ "saslauth" }}
modules_disabled = {{ "s2s", "offline" }}
c2s_ports = {{ {self.port} }}
c2s_interfaces = {{ "127.0.0.1" }}
c2s_require_encryption = false
network_backend = "epoll"
network_settings = {{ tcp_backlog = 4096; nagle = false }}
VirtualHost "localhost"
    authentication = "anonymous"
Component "rooms.localhost" "muc"
    muc_room_locking = false
    max_history_messages = 0
    muc_room_default_presence_broadcast = {{ visitor = false; participant = false; moderator = false }}
"""
        self.launch("prosody", "--config", self.write("prosody.cfg.lua", settings), "-F")
        self.await_port(self.port, HELLO, b"</stream:features>")
