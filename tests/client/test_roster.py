"""The roster of a room: which changes are news."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from parlour.client.roster import Roster

NAMES = st.sets(st.sampled_from("abcdefgh"), max_size=4)


def listed(*names: str) -> Roster:
    """Return a roster that knows these names."""
    roster = Roster()
    assert roster.list(names, len(names), more=False)
    return roster


def test_the_first_list_is_no_news() -> None:
    """Members that were there before the client are not reported as new."""
    assert listed("ada", "bob").news() is None


def test_changes_are_idempotent() -> None:
    """A name that came twice came once; a name that was not there did not leave."""
    roster = listed("ada")
    roster.change(["bob", "ada"], ["eve"], 2)
    assert roster.news() == (("bob",), ())
    roster.told()
    roster.change(["bob"], [], 2)
    assert roster.news() is None
    assert roster.names == {"ada", "bob"}


def test_untold_changes_cancel_out() -> None:
    """A name that came and left before the application was told is no news."""
    roster = listed("ada", "bob")
    roster.change(["cyd"], ["bob"], 2)
    roster.change(["bob"], ["cyd"], 2)
    assert roster.news() is None


def test_a_later_list_replaces_the_names() -> None:
    """The difference is news; a list in parts counts from its last part on."""
    roster = listed("ada", "bob")
    assert not roster.list(["ada"], 2, more=True)
    assert roster.names == {"ada", "bob"}
    assert roster.list(["cyd"], 2, more=False)
    assert roster.names == {"ada", "cyd"}
    assert roster.news() == (("cyd",), ("bob",))


def test_a_change_between_parts_of_a_list_stays() -> None:
    """The list was made before the change."""
    roster = listed("ada", "bob")
    roster.list(["ada", "bob"], 3, more=True)
    roster.change(["dan"], ["bob"], 3)
    roster.list(["cyd"], 3, more=False)
    assert roster.names == {"ada", "cyd", "dan"}


def test_a_short_list_removes_no_name() -> None:
    """After a join only some names are listed; the others are still there."""
    roster = listed("ada", "bob")
    roster.list(["ada", "cyd"], 300, more=False)
    assert roster.names == {"ada", "bob", "cyd"}
    assert roster.count == 300
    assert roster.news() == (("cyd",), ())


@given(NAMES, st.lists(st.tuples(st.sampled_from(["change", "list"]), NAMES, NAMES, st.booleans()), max_size=20))
def test_told_plus_news_is_the_roster(first: set[str], steps: list[tuple[str, set[str], set[str], bool]]) -> None:
    """The names told before, changed by the news, are always the names of the roster."""
    roster = listed(*first)
    known = set(first)
    for kind, some, others, tell in steps:
        if kind == "change":
            roster.change(some, others - some, 0)
        else:
            roster.list(some, len(some), more=False)
        news = roster.news()
        came, went = (set(names) for names in news) if news else (set(), set())
        assert not came & known
        assert went <= known
        assert (known | came) - went == roster.names
        if tell:
            known = set(roster.names)
            roster.told()
