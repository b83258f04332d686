"""The names in a room, united from the members of all nodes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.node.rooms.roster import NAMES, SHOWN, ClusterRoster, Sessions
from parlour.wire.codec import NodeDecoder
from parlour.wire.messages import Members, Presence

people = st.tuples(st.sampled_from("abcdef"), st.sampled_from(["ada", "bob", "cy"]))
steps = st.lists(st.tuples(st.sampled_from(["enter", "leave"]), people), max_size=30)


@given(st.lists(st.tuples(st.sampled_from(["n1", "n2"]), steps), max_size=4), st.randoms(use_true_random=False))
def test_snapshots_repair_lost_changes(
    turns: list[tuple[str, list[tuple[str, tuple[str, str]]]]], random: object
) -> None:
    """Some changes between two nodes are lost; after snapshots of both, they list the same names."""
    rosters = {"n1": ClusterRoster("lobby"), "n2": ClusterRoster("lobby", version=50)}
    for number, (node, changes) in enumerate(turns):
        mine, other = rosters[node], rosters["n2" if node == "n1" else "n1"]
        for what, (session, name) in changes:
            mine.leave(f"{node}-{session}")
            if what == "enter":
                mine.enter(f"{node}-{session}", name)
        first, version, told = mine.take_unpublished()
        if number % 2 == 0 and not other.change(node, "x", first, version, told):
            other.replace(node, "x", mine.version, mine.own())
    for node, mine in rosters.items():
        rosters["n2" if node == "n1" else "n1"].replace(node, "x", mine.version, mine.own())
    assert rosters["n1"].names() == rosters["n2"].names()


def test_missed_changes_are_noticed() -> None:
    """A gap in the numbers of changes, or an unknown instance, makes the listener ask."""
    roster = ClusterRoster("lobby")
    assert not roster.change("n2", "i", 1, 1, Sessions({"s": "bob"}))
    roster.replace("n2", "i", 1, Sessions({"s": "bob"}))
    assert roster.change("n2", "i", 2, 2, Sessions({"t": "cy"}))
    assert not roster.change("n2", "i", 4, 4, Sessions({"t": None}))
    assert not roster.change("n2", "another start", 3, 3, Sessions({}))
    assert roster.names() == ["bob", "cy"]
    roster.replace("n2", "i", 1, Sessions({}))
    assert roster.names() == ["bob", "cy"], "a late snapshot must not undo later changes"


def test_name_leaves_with_its_last_session() -> None:
    """Two sessions with the same name are one name, which leaves with the last of them."""
    roster = ClusterRoster("lobby")
    roster.enter("s", "ada")
    assert roster.take_changes() == (["ada"], [])
    roster.replace("n2", "i", 1, Sessions({"t": "ada"}))
    roster.leave("s")
    assert not roster.changed
    roster.forget("n2", "i")
    assert roster.take_changes() == ([], ["ada"])


def test_changes_that_cancel_are_not_told() -> None:
    """A name that comes and goes between two frames is in neither list."""
    roster = ClusterRoster("lobby")
    roster.enter("s", "ada")
    roster.leave("s")
    assert not roster.changed
    assert roster.unpublished


def test_long_list_takes_several_frames() -> None:
    """The whole list comes in frames of 200 names; without `whole`, only the first frame."""
    roster = ClusterRoster("lobby")
    for number in range(NAMES + 1):
        roster.enter(str(number), f"{number:064}")
    whole = list(NodeDecoder().feed(b"".join(roster.members_frames(whole=True))))
    assert all(isinstance(part, Members) and part.count == NAMES + 1 for part in whole)
    assert [(len(part.names), part.more) for part in whole if isinstance(part, Members)] == [(NAMES, True), (1, False)]
    (short,) = NodeDecoder().feed(b"".join(roster.members_frames(whole=False)))
    assert isinstance(short, Members)
    assert (len(short.names), short.more, short.count) == (NAMES, False, NAMES + 1)
    (presence,) = NodeDecoder().feed(roster.presence_frame())
    assert isinstance(presence, Presence)
    assert presence.count == NAMES + 1
    assert not roster.changed


def test_grace_period() -> None:
    """A session that is back in time never left; each break starts a new period, and at its end the session leaves."""
    roster = ClusterRoster("lobby")
    roster.enter("s", "ada")
    version = roster.version
    roster.take_changes()
    roster.start_grace("s", 10.0)
    roster.enter("s", "ada")
    roster.start_grace("s", 15.0)
    roster.drop_expired(10.0)
    assert not roster.changed
    assert roster.in_grace
    assert roster.version == version
    roster.drop_expired(15.0)
    assert roster.take_changes() == ([], ["ada"])
    assert not roster.in_grace


def test_listed_changes_are_told() -> None:
    """A list is made while changes wait that then cancel each other: the members that got it must be told."""
    roster = ClusterRoster("lobby")
    roster.enter("s", "ada")
    roster.take_changes()
    roster.leave("s")
    roster.enter("t", "bob")
    roster.members_frames(whole=False)  # shows bob, and not ada
    roster.enter("s", "ada")
    roster.leave("t")
    assert roster.take_changes() == (["ada"], ["bob"])
    assert not roster.changed


def test_restarted_node_keeps_its_former_members() -> None:
    """Members of the former instance keep their grace period, although the node is back and empty."""
    roster = ClusterRoster("lobby")
    roster.replace("n2", "first start", 7, Sessions({"s": "bob"}))
    roster.take_changes()
    roster.replace("n2", "second start", 1, Sessions({}))
    assert not roster.changed
    roster.forget("n2", "first start")
    assert roster.take_changes() == ([], ["bob"])


def test_accounts_and_display_names_are_told() -> None:
    """A name that becomes an account, or gets a display name, is told again; on the other nodes, too."""
    roster, other = ClusterRoster("lobby"), ClusterRoster("lobby")
    other.replace("n1", "i", 0, Sessions({}))
    roster.enter("s", "ada")
    roster.enter("t", "bob", bot=True)
    for display in ("", "Ada L."):
        roster.enter("s", "ada", account=True, display=display)
        assert other.change("n1", "i", *roster.take_unpublished())
        for each in (roster, other):
            (told,) = NodeDecoder().feed(each.presence_frame())
            assert isinstance(told, Presence)
            place = told.joined.index("ada")
            assert (told.accounts, told.displays) == ([place], {"ada": display} if display else {})
            (listed,) = NodeDecoder().feed(b"".join(each.members_frames(whole=True)))
            assert isinstance(listed, Members)
            assert (listed.names, listed.bots, listed.accounts) == (["ada", "bob"], [1], [0])
            each.take_changes()
    roster.enter("s", "ada", account=True, display="Ada L.")
    assert not roster.changed
    assert not roster.unpublished
    roster.leave("s")
    roster.enter("s", "ada", account=True, display="Countess")
    assert roster.take_changes() == (["ada"], [])


def test_name_of_a_person_is_no_bot() -> None:
    """An account may have a program and a person at two devices: it is shown as a person."""
    roster = ClusterRoster("lobby")
    roster.enter("s", "ada", bot=True, account=True)
    roster.replace("n2", "i", 1, Sessions({"t": "ada"}, accounts=["t"]))
    (listed,) = NodeDecoder().feed(b"".join(roster.members_frames(whole=True)))
    assert isinstance(listed, Members)
    assert (listed.names, listed.bots, listed.accounts) == (["ada"], [], [0])


def test_display_names_fit_into_frames() -> None:
    """With the longest names and display names, frames have fewer names."""
    roster = ClusterRoster("lobby")
    for number in range(NAMES + 1):
        roster.enter(str(number), f"{number:03}" + "😀" * 61, account=True, display="😀" * 64)
    whole = list(NodeDecoder().feed(b"".join(roster.members_frames(whole=True))))
    assert sum(len(part.names) for part in whole if isinstance(part, Members)) == NAMES + 1
    assert len(whole) == NAMES // SHOWN + 1
    (told,) = NodeDecoder().feed(roster.presence_frame())
    assert isinstance(told, Presence)
    assert len(told.joined) == SHOWN // 2
