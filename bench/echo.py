"""A bare ROUTER that sends each message back: the highest speed that any broker in Python could reach.

This module owns one socket, which only the main thread uses; it runs as a program until it is killed. It must never
decode a message.
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
