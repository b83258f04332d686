"""The roster of a room: what is news, and what is not."""

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
    """Those who were there before one came did not come."""
    assert listed("ada", "bob").news() is None


def test_changes_are_idempotent() -> None:
    """A name that came twice came once, one that was not there did not go."""
    roster = listed("ada")
    roster.change(["bob", "ada"], ["eve"], 2)
    assert roster.news() == (("bob",), ())
    roster.told()
    roster.change(["bob"], [], 2)
    assert roster.news() is None
    assert roster.names == {"ada", "bob"}


def test_untold_changes_cancel_out() -> None:
    """Who came and went while nobody was told is no news."""
    roster = listed("ada", "bob")
    roster.change(["cyd"], ["bob"], 2)
    roster.change(["bob"], ["cyd"], 2)
    assert roster.news() is None


def test_a_later_list_replaces_the_names_and_the_difference_is_news() -> None:
    """A list in parts holds from its last part on."""
    roster = listed("ada", "bob")
    assert not roster.list(["ada"], 2, more=True)
    assert roster.names == {"ada", "bob"}
    assert roster.list(["cyd"], 2, more=False)
    assert roster.names == {"ada", "cyd"}
    assert roster.news() == (("cyd",), ("bob",))


def test_a_change_between_the_parts_of_a_list_is_not_undone_by_it() -> None:
    """The list was drawn up before the change."""
    roster = listed("ada", "bob")
    roster.list(["ada", "bob"], 3, more=True)
    roster.change(["dan"], ["bob"], 3)
    roster.list(["cyd"], 3, more=False)
    assert roster.names == {"ada", "cyd", "dan"}


def test_a_list_cut_short_lets_nobody_go() -> None:
    """After a join only some names are listed: the others are not gone."""
    roster = listed("ada", "bob")
    roster.list(["ada", "cyd"], 300, more=False)
    assert roster.names == {"ada", "bob", "cyd"}
    assert roster.count == 300
    assert roster.news() == (("cyd",), ())


@given(NAMES, st.lists(st.tuples(st.sampled_from(["change", "list"]), NAMES, NAMES, st.booleans()), max_size=20))
def test_told_plus_news_is_the_roster(first: set[str], steps: list[tuple[str, set[str], set[str], bool]]) -> None:
    """Whoever applies the news to what was told before has the names, whatever happened and whenever told."""
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
