"""Accounts, names, tokens and what else people have, on the store of every engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from unittest.mock import Mock, patch

import msgspec
import pytest
from argon2 import extract_parameters

from parlour.directory import passwords
from parlour.directory.accounts import UnknownAccountError
from parlour.directory.belongings import Belongings
from parlour.directory.directory import Directory
from parlour.directory.names import NameTakenError
from parlour.directory.passwords import make_password, matches
from parlour.directory.store import DirectoryError, Document, Store
from parlour.directory.tokens import DEVICES
from parlour.runtime.threads import join_all, spawn
from parlour.wire.direct import account_identity
from parlour.wire.errors import UsageError
from parlour.wire.people import Person
from support.opener import StoreOpener

ADA = account_identity("ada")


class Clock:
    """A store on an engine, whose time a test can move, and which calls `before_put` or `after_put` once."""

    def __init__(self, engine: Store) -> None:
        self._engine = engine
        self.ahead = 0
        self.before_put: Callable[[], object] | None = None
        self.after_put: Callable[[], object] | None = None

    def now(self) -> int:
        """Return the engine's time, moved by `ahead` ms."""
        return self._engine.now() + self.ahead

    def get(self, key: str) -> Document | None:
        """Return a document that has not ended by this clock."""
        document = self._engine.get(key)
        if document is not None and 0 < document.ends <= self.now():
            self._engine.delete(key, document.version)
            return None
        return document

    def put(self, key: str, value: bytes, expected: str = "", ends: int = 0) -> str | None:
        """Store a document; one that has ended by this clock does not exist."""
        before, self.before_put = self.before_put, None
        if before is not None:
            before()
        self.get(key)
        version = self._engine.put(key, value, expected, ends)
        after, self.after_put = self.after_put, None
        if after is not None:
            after()
        return version

    def delete(self, key: str, expected: str) -> bool:
        """Delete a document that has not ended by this clock."""
        self.get(key)
        return self._engine.delete(key, expected)

    def keys(self, prefix: str, after: str = "", limit: int = 1000) -> list[str]:
        """Return the keys of documents that have not ended by this clock."""
        return [key for key in self._engine.keys(prefix, after, limit) if self.get(key) is not None]

    def close(self) -> None:
        """Do nothing: the fixture of the engine closes it."""


@pytest.fixture
def store(opener: StoreOpener) -> Clock:
    """An empty store on each engine in turn."""
    return Clock(opener())


@pytest.fixture
def directory(store: Clock) -> Directory:
    """A directory in it, with the instance `n1` of a node."""
    directory = Directory(store)
    directory.names.renew("n1")
    return directory


def test_account_lives(directory: Directory) -> None:
    """An account is made, found by every look-alike of its name, changed and removed."""
    made = directory.accounts.add("Ada", make_password("open sesame"), operator=True)
    assert directory.accounts.get("ada") == directory.accounts.get("\u0430DA") == made
    assert matches(directory.accounts.password("ada"), "open sesame")
    assert directory.accounts.change("ada", display="Ada L.").display == "Ada L."
    directory.accounts.set_password("ada", make_password("another one"))
    assert not matches(directory.accounts.password("ada"), "open sesame")
    directory.belongings.change(account_identity("Ada"), lambda _: Belongings({"lobby": 7}))
    directory.accounts.remove("ada")
    assert directory.accounts.get("Ada") is None
    assert directory.belongings.get(account_identity("Ada")) == Belongings()
    with pytest.raises(UnknownAccountError, match="parlour account list"):
        directory.accounts.change("Ada", disabled=True)


def test_removed_name_stays_reserved(directory: Directory, store: Clock) -> None:
    """Nobody gets the name of a removed account or a look-alike, ever; nothing but the name and the time is left."""
    directory.accounts.add("Ada", make_password("open sesame"), operator=True)
    token = directory.tokens.make("ada", "laptop")
    assert store.keys("token/")
    directory.accounts.remove("ada")
    store.ahead = 400 * 24 * 3600 * 1000
    directory.names.renew("n1")
    for name in ("Ada", "ada", "\u0430da"):
        why = f"^the name {name} stays reserved, as the account Ada was removed: {name}2 is free$"
        with pytest.raises(NameTakenError, match=why):
            directory.accounts.add(name, None)
        with pytest.raises(NameTakenError, match=why):
            directory.names.take(name, "s", "n1")
        with pytest.raises(NameTakenError, match=why):
            directory.accounts.check_free(name)
    directory.names.release("ada", "s", "n1")
    assert (removed := directory.accounts.removed("ADA")) is not None
    assert removed.name == "Ada"
    assert abs(store.now() - store.ahead - removed.at) < 60_000
    assert directory.accounts.password("ada") is None
    assert directory.accounts.list() == []
    assert directory.tokens.account(token) is None
    assert directory.tokens.list("ada") == []
    assert store.keys("token/") == store.keys("own/") == []
    for act in (directory.accounts.remove, lambda name: directory.tokens.make(name, "phone")):
        with pytest.raises(UsageError):
            act("ada")


def test_closings_are_told_for_a_minute(directory: Directory, store: Clock) -> None:
    """Nodes find there whose sessions to end: the accounts that were removed or disabled, as long as a thousand."""
    for name in ("Ada", "bob", "carol"):
        directory.accounts.add(name, None)
    directory.accounts.change("bob", disabled=True)
    assert directory.accounts.closings() == {"bob"}
    store.ahead = 50_000
    directory.accounts.remove("ada")
    directory.accounts.change("carol", display="C")
    assert directory.accounts.closings() == {"Ada", "bob"}
    directory.accounts.change("bob", disabled=False)
    store.ahead = 70_000
    directory.accounts.change("carol", disabled=True)
    assert directory.accounts.closings() == {"Ada", "carol"}
    store.ahead = 131_000
    assert directory.accounts.closings() == set()


def test_accounts_are_listed_without_guests(directory: Directory) -> None:
    """All come, page by page, in the order of their skeletons."""
    for number in range(25):
        directory.names.take(f"guest{number}", "s", "n1")
        directory.accounts.add(f"user{number}", None)
    found = directory.accounts.list(limit=10)
    found += directory.accounts.list(found[-1].skeleton, 100)
    assert sorted(account.name for account in found) == sorted(f"user{number}" for number in range(25))


def test_password_of_nobody(directory: Directory) -> None:
    """It matches nothing, and texts that cannot be passwords are refused."""
    assert not matches(None, "open sesame")
    assert directory.accounts.password("nobody") is None
    for wrong in ("", "\x00", "x" * 2000, "\ud800"):
        with pytest.raises(UsageError):
            make_password(wrong)
        assert not matches(make_password("right"), wrong)


def test_time_does_not_tell_of_an_account() -> None:
    """A name without an account has the same work done as a wrong password, from the first look on."""
    real, standin = make_password("right").argon2, passwords._standin()
    assert extract_parameters(standin) == extract_parameters(real)
    hashed = Mock(wraps=passwords._HASHER)
    with patch.object(passwords, "_HASHER", hashed):
        passwords._standin.cache_clear()
        assert not matches(None, "wrong")
    assert hashed.verify.call_count == 1
    assert hashed.hash.call_count == 0


def test_name_of_an_account_is_nobody_elses(directory: Directory) -> None:
    """No guest and no other account gets it or a look-alike, and a free name is offered."""
    directory.accounts.add("ada", None)
    directory.names.take("ada2", "s1", "n1")
    for name in ("ada", "ADA", "\u0430da"):
        with pytest.raises(NameTakenError) as taken:
            directory.names.take(name, "s2", "n1")
        assert taken.value.free == f"{name}3"
        with pytest.raises(NameTakenError):
            directory.accounts.add(name, None)


def test_guest_registers_the_own_name(directory: Directory) -> None:
    """The session that holds a name may make it an account; another may not."""
    directory.names.take("ada", "s1", "n1")
    with pytest.raises(NameTakenError):
        directory.accounts.add("ada", None, by="s2")
    directory.accounts.add("ada", None, by="s1")
    assert directory.names.holder("ada") is None


def test_name_survives_a_move(directory: Directory) -> None:
    """The same session takes its name at another node; the first node's release changes nothing then."""
    directory.names.renew("n2")
    directory.names.take("ada", "s1", "n1")
    directory.names.take("ada", "s1", "n2")
    directory.names.release("ada", "s1", "n1")
    held = directory.names.holder("ada")
    assert held is not None
    assert held.instance == "n2"
    directory.names.release("ada", "s1", "n2")
    assert directory.names.holder("ada") is None


def test_names_of_a_dead_node_are_free(directory: Directory, store: Clock) -> None:
    """After 30 s without a renewal; a node that renews too late learns that it has lost its names."""
    directory.names.take("ada", "s1", "n1")
    store.ahead += 29_000
    assert directory.names.renew("n1")
    store.ahead += 29_000
    with pytest.raises(NameTakenError):
        directory.names.take("ada", "s2", "n2")
    store.ahead += 2_000
    directory.names.renew("n2")
    directory.names.take("ada", "s2", "n2")
    assert not directory.names.renew("n1")


@pytest.mark.parametrize("same_name", [True, False])
def test_one_of_many_gets_a_name(opener: StoreOpener, same_name: bool) -> None:
    """Of 200 sessions on three nodes that ask at once for a name, or for its look-alikes, exactly one gets it."""
    nodes = [Directory(opener()) for _ in range(3)]
    for number, node in enumerate(nodes):
        node.names.renew(f"n{number}")
    got: list[str] = []
    failed: list[Exception] = []
    start = threading.Barrier(200)

    def race(number: int) -> None:
        start.wait(30)
        try:
            name = "ada" if same_name or number % 2 else "\u0430DA"
            nodes[number % 3].names.take(name, f"s{number}", f"n{number % 3}")
        except NameTakenError:
            return
        except Exception as error:
            failed.append(error)
        else:
            got.append(f"s{number}")

    join_all([spawn(f"racer-{number}", race, number) for number in range(200)], 60)
    assert not failed
    assert len(got) == 1
    held = nodes[0].names.holder("ada")
    assert held is not None
    assert held.session == got[0]


def test_invitation_is_used_no_oftener(opener: StoreOpener) -> None:
    """Of 40 that use a code for five at once on two nodes, five can."""
    nodes = [Directory(opener()) for _ in range(2)]
    code = nodes[0].invitations.make("lobby", 5, nodes[0].store.now() + 60_000)
    used: list[bool] = []
    start = threading.Barrier(40)

    def race(number: int) -> None:
        start.wait(30)
        used.append(nodes[number % 2].invitations.use(code) is not None)

    join_all([spawn(f"racer-{number}", race, number) for number in range(40)], 60)
    assert len(used) == 40
    assert sum(used) == 5


def test_renewal_that_comes_too_late_while_it_runs(directory: Directory, store: Clock) -> None:
    """A lease that ends between the node's look and its write is lost, and the node learns it."""
    directory.names.take("ada", "s1", "n1")
    store.ahead += 29_900

    def stall() -> None:
        store.ahead += 5_000
        directory.names.renew("n2")
        directory.names.take("ada", "s2", "n2")

    store.before_put = stall
    assert not directory.names.renew("n1")
    assert directory.names.renew("n1")


def test_renewal_without_an_answer(directory: Directory, store: Clock) -> None:
    """A node whose late renewal was stored but not acknowledged still learns that it was late."""

    def break_off() -> None:
        raise DirectoryError("no answer")

    directory.names.take("ada", "s1", "n1")
    store.ahead += 31_000
    directory.names.renew("n2")
    directory.names.take("ada", "s2", "n2")
    store.after_put = break_off
    with pytest.raises(DirectoryError):
        directory.names.renew("n1")
    assert not directory.names.renew("n1")
    assert directory.names.renew("n1")


def test_name_of_a_guest_who_stays(directory: Directory, store: Clock) -> None:
    """A guest that never leaves keeps the name as long as the node renews."""
    directory.names.take("ada", "s1", "n1")
    for _ in range(10):
        store.ahead += 9 * 24 * 3600 * 1000
        directory.names.renew("n1")
    with pytest.raises(NameTakenError):
        directory.names.take("ada", "s2", "n1")


def test_tokens(directory: Directory, store: Clock) -> None:
    """A token names its account until its device is revoked, the account removed, or a hundred newer ones came.

    Then the store forgets it.
    """
    directory.accounts.add("ada", None)
    token = directory.tokens.make("ada", "laptop")
    assert directory.tokens.account(token) == "ada"
    assert directory.tokens.account("guessed") is None
    assert token.encode() not in b"".join(_documents(store))
    (device,) = directory.tokens.list("ada")
    assert device.label == "laptop"
    assert directory.tokens.revoke("ada", device.id)
    assert not directory.tokens.revoke("ada", device.id)
    assert directory.tokens.account(token) is None
    first, *_, last = [directory.tokens.make("ada", str(number)) for number in range(DEVICES + 1)]
    assert (directory.tokens.account(first), directory.tokens.account(last)) == (None, "ada")
    assert len(store.keys("token/")) == DEVICES
    directory.accounts.remove("ada")
    assert directory.tokens.account(last) is None
    assert store.keys("token/") == []


def _documents(store: Clock) -> list[bytes]:
    found = [store.get(key) for key in store.keys("")]
    return [document.value for document in found if isinstance(document, Document)]


def test_invitations(directory: Directory, store: Clock) -> None:
    """An invitation is good for its uses, until it ends."""
    code = directory.invitations.make("lobby", 2, store.now() + 60_000)
    used = directory.invitations.use(code)
    assert used is not None
    assert used.room == "lobby"
    assert directory.invitations.use(code) is not None
    assert directory.invitations.use(code) is None
    directory.invitations.give_back(code)
    assert directory.invitations.use(code) is not None
    directory.invitations.give_back(code)
    store.ahead += 60_001
    assert directory.invitations.use(code) is None
    assert directory.invitations.use("guessed") is None


def test_failures_delay(directory: Directory, store: Clock) -> None:
    """The delay grows with each failure, for account and address; a success forgets those of the account."""
    for _ in range(3):
        assert directory.failures.wait("ada", "192.0.2.1") == 0
        directory.failures.note("ada", "192.0.2.1")
    directory.failures.note("ada", "192.0.2.1")
    directory.failures.note("ada", "192.0.2.1")
    assert 3 < directory.failures.wait("ada", "192.0.2.9") <= 4
    assert directory.failures.wait("bob", "192.0.2.1") == 0
    directory.failures.forget("ada", "192.0.2.1")
    assert directory.failures.wait("ada", "192.0.2.9") == 0
    for number in range(30):
        directory.failures.note(f"user{number}", f"2001:db8::{number:x}")
    assert directory.failures.wait("cy", "2001:db8::ffff") > 60
    store.ahead += 2 * 3600 * 1000
    assert directory.failures.wait("cy", "2001:db8::ffff") == 0


def test_endless_failures(directory: Directory, store: Clock) -> None:
    """However often sign-ins fail, the delay stays at its longest."""
    failed = msgspec.msgpack.encode({"count": 5000, "until": 0})
    for key in ("failures/account/ada", "failures/address/192.0.2.1"):
        store.put(key, failed, ends=store.now() + 60_000)
    directory.failures.note("ada", "192.0.2.1")
    for account, address in (("ada", ""), ("bob", "192.0.2.1")):
        assert 299 < directory.failures.wait(account, address) <= 300


def test_trail(directory: Directory, store: Clock) -> None:
    """Entries come in order, since a time."""
    directory.trail.add("kick", "ada", {"who": "bob"})
    store.ahead += 1000
    later = store.now()
    directory.trail.add("ban", "ada", {"who": "bob"})
    assert [entry.what for entry in directory.trail.entries(0, 10)] == ["kick", "ban"]
    assert [entry.what for entry in directory.trail.entries(later, 10)] == ["ban"]


@pytest.mark.parametrize(
    ("who", "person"),
    [
        ("bob", Person("B0B")),
        ("bob", Person("anna", account="bob")),
        ("spam*", Person("spammer7")),
        ("192.0.2.0/24", Person("eve", address="192.0.2.7")),
        ("2001:db8::/64", Person("eve", address="2001:db8::1")),
    ],
)
def test_bans(directory: Directory, who: str, person: Person) -> None:
    """A ban hits those whom it is meant for, and no operator, until it is lifted."""
    directory.bans.add(who, "ada", "spam")
    found = directory.bans.of(person)
    assert found is not None
    assert found.reason == "spam"
    assert directory.bans.of(Person("carol", address="198.51.100.1")) is None
    assert directory.bans.of(Person(person.name, "root", operator=True, address=person.address)) is None
    assert directory.bans.remove(who)
    assert not directory.bans.remove(who)
    assert directory.bans.of(person) is None


def test_belongings(directory: Directory) -> None:
    """Changes count; too much is refused, and changes nothing."""
    assert directory.belongings.get(ADA) == Belongings()
    changed = directory.belongings.change(ADA, lambda old: Belongings({**old.rooms, "lobby": 7}))
    assert (changed.rooms, changed.version) == ({"lobby": 7}, 1)
    assert directory.belongings.change(ADA, lambda old: old).version == 1
    with pytest.raises(UsageError, match="no room for more"):
        directory.belongings.change(ADA, lambda _: Belongings(ignored=tuple(f"{n:060d}" for n in range(2000))))
    assert directory.belongings.get(ADA) == changed
