"""Asks: the envelope of what a client wants besides posts and rooms, in both dialects."""

from __future__ import annotations

import pytest

from parlour.wire.asks import Answer, Ask
from parlour.wire.messages import Error
from support.cluster import RawClient, cluster


@pytest.mark.parametrize("lines", [False, True], ids=["frames", "lines"])
def test_ask_is_answered(lines: bool) -> None:
    """Each ask gets an answer or an error with its id, and a wrong one does not end the connection."""
    with cluster() as running, RawClient(running.address, "ada", lines=lines) as ada:
        ada.send(Ask(1, "whoami"), Ask(2, "nonsense"), Ask(3, "whoami", {"later": [1]}))
        answers = [ada.get(Answer), ada.get(Answer)]
        assert [answer.ask for answer in answers] == [1, 3]
        assert answers[0].data["name"] == "ada"
        assert answers[0].data["address"] == "127.0.0.1"
        error = ada.get(Error)
        assert (error.ask, error.code, error.fatal) == (2, "bad_request", False)
