"""The rooms of private conversations: one for each pair, and no client can choose their names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.wire.control import Assign
from parlour.wire.direct import account_identity, direct_room, guest_identity
from parlour.wire.errors import UsageError
from parlour.wire.limits import check_room, is_direct
from parlour.wire.messages import Enter, Join


@given(one=st.text(), other=st.text())
def test_one_room_for_a_pair(one: str, other: str) -> None:
    """Both sides get the same room, whoever begins, and it is a valid name that tells neither of them."""
    room = direct_room(account_identity(one), account_identity(other))
    assert room == direct_room(account_identity(other), account_identity(one))
    assert is_direct(room)
    assert check_room(room) == room


def test_guest_is_no_account() -> None:
    """A guest of the same name has other conversations than the account."""
    with_account = direct_room(account_identity("ada"), account_identity("bob"))
    assert direct_room(account_identity("ada"), guest_identity("bob")) != with_account


@pytest.mark.parametrize("room", ["@", "@ada", "@" + "0" * 31, "@" + "0" * 33, "@" + "G" * 32, "#" + "0" * 32])
def test_other_names_are_refused(room: str) -> None:
    """No other name begins with the sign of private conversations."""
    assert not is_direct(room)
    with pytest.raises(UsageError):
        check_room(room)


def test_brokers_know_nothing_of_them() -> None:
    """A private conversation is joined at the node, and never named to a broker."""
    room = direct_room(account_identity("ada"), account_identity("bob"))
    assert Join(room).room == room
    with pytest.raises(UsageError, match="brokers know nothing"):
        Assign("ada", room)
    with pytest.raises(UsageError, match="brokers know nothing"):
        Enter("ada", room)
