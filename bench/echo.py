"""A bare ROUTER that sends back what it is sent: the most that any broker in Python could do.

This module owns one socket, used by the main thread alone; it runs as a program, until it is killed. It must never
look into a message.
"""

from __future__ import annotations

import sys

import zmq

__all__: list[str] = []


def main(port: str) -> None:
    """Echo for ever, on the main thread."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.bind(f"tcp://127.0.0.1:{port}")
        while True:
            socket.send_multipart(socket.recv_multipart(copy=True))


if __name__ == "__main__":
    main(sys.argv[1])
