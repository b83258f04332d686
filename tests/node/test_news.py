"""News for people reach all sessions of a person; private conversations are closed to everybody else."""

from __future__ import annotations

from parlour.wire.asks import News
from parlour.wire.direct import account_identity, direct_room, guest_identity
from parlour.wire.messages import Error, Join, Ping, Pong
from parlour.wire.relay import PEOPLE_TOPIC
from support.cluster import cluster
from support.waiting import eventually


def test_news_reach_all_nodes() -> None:
    """A guest at another node gets the news; others do not."""
    with cluster(2) as running, running.clients("ada", "bob") as (ada, bob):
        here, there = running.nodes
        assert (ada.node, bob.node) == (here.name, there.name)
        eventually(lambda: here._relay.has_listeners(PEOPLE_TOPIC))
        here.news.tell(guest_identity(bob.session), "direct", {"name": "ada"})
        assert bob.get(News) == News("direct", {"name": "ada"})
        here.news.tell(guest_identity(ada.session), "direct", {"name": "bob"})
        assert ada.get(News) == News("direct", {"name": "bob"})
        here.news.tell(account_identity("ada"), "direct", {})
        bob.send(Ping())
        assert isinstance(bob.get(Pong), Pong)


def test_nobody_joins_a_conversation_of_others() -> None:
    """Its name can be computed, but does not open it, and the answer does not tell whether it exists."""
    with cluster() as running, running.clients("eve") as (eve,):
        eve.send(Join(direct_room(account_identity("ada"), account_identity("bob"))))
        assert eve.get(Error).code == "no_conversation"
