"""The people of one node: the directory, and all that turns a hello into a Person.

This module puts the parts of this floor together and decides who may come in. Clients' threads call it; the main
thread starts and stops it. It must never let anybody in whom it could not check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from parlour.directory.accounts import Account
from parlour.directory.directory import Directory
from parlour.directory.store import DirectoryError
from parlour.node.log import RoomLog
from parlour.node.people.exchange import Exchange
from parlour.node.people.exclusion import Exclusion
from parlour.node.people.leases import Leases
from parlour.node.people.passwordqueue import PasswordQueue
from parlour.node.people.refusal import RefusedClientError
from parlour.node.people.registration import Registration
from parlour.node.people.signin import SignIn
from parlour.node.settings import NodeSettings
from parlour.wire.errors import UsageError
from parlour.wire.messages import Hello
from parlour.wire.people import Person
from parlour.wire.skeleton import skeleton

__all__ = ["People", "answered", "person_of"]


def person_of(account: Account, address: str) -> Person:
    """Return the person that has signed in to an account from this address."""
    return Person(account.name, account.name, account.operator, address, account.display, account.rate)


class People:
    """The people of one node.

    Attributes:
        directory: accounts and what belongs to them.
        passwords: the threads that check passwords.
        leases: the names of the guests here.
        signin: the ways to sign in.
        registration: the ways to an account.
    """

    def __init__(
        self,
        node: str,
        instance: str,
        directory: Directory,
        log: RoomLog,
        settings: NodeSettings,
        guests: bool,
        sessions: Callable[[], Iterable[tuple[str, Person]]],
        end: Callable[[str, RefusedClientError], object],
    ) -> None:
        """Serve the node of this name; `guests` tells whether people without an account may come in.

        `sessions` and `end` are as in `Exclusion`. Raises ParlourError if the key files of the settings cannot be used.
        """
        self.directory = directory
        self._guests = guests
        self.passwords = PasswordQueue(f"{node}-passwords", settings.hello_deadline)
        self.leases = Leases(f"{node}-leases", directory.names, instance, end)
        self._exclusion = Exclusion(f"{node}-exclusion", directory, sessions, self._check_bans, end)
        tokens = None
        if settings.jwt_key is not None or settings.jwks is not None:
            from parlour.node.people.webtoken import WebTokens  # its libraries load slowly, and few nodes need them

            tokens = WebTokens(settings)
        self.signin = SignIn(directory, self.passwords, tokens)
        self.registration = Registration(directory, log, self.passwords, self.signin, settings.registration)

    def start(self) -> None:
        """Start the threads; raises DirectoryError if the directory does not answer."""
        self.leases.start()
        self.passwords.start()
        self._exclusion.start()

    def stop(self, timeout: float = 5.0) -> None:
        """Stop the threads."""
        self._exclusion.stop(timeout)
        self.leases.stop(timeout)
        self.passwords.stop(timeout)

    def exchange(self, address: str) -> Exchange:
        """Return a sign-in by SASL for a client at this address."""
        return Exchange(self.signin, address)

    def enter(self, hello: Hello, session: str, address: str, proven: Account | None) -> Person:
        """Return who says this hello, and take a guest's name; raises RefusedClientError if it may not come in.

        `proven` is the account to which the client has signed in before by SASL.
        """
        with answered():
            account = self._account(hello, session, address, proven)
            if account is None and not self._guests:
                raise RefusedClientError("no_guests", "this cluster is for accounts alone: sign in with a password")
            person = Person(hello.name, address=address) if account is None else person_of(account, address)
            self._check_bans(person)
            if account is None and not hello.observer:
                self.leases.take(person.name, session, address)
            return person

    def _account(self, hello: Hello, session: str, address: str, proven: Account | None) -> Account | None:
        """Return the account to which a hello signs in; None for a guest."""
        if hello.invitation:
            self._check_bans(Person(hello.name, address=address))  # before the invitation is used up
            return self.registration.register(hello.name, hello.password, hello.invitation, session)
        if hello.password:
            return self.signin.by_password(hello.name, hello.password, address)
        if hello.token:
            return self.signin.by_token(hello.name, hello.token, address)
        if hello.jwt:
            return self.signin.by_web_token(hello.name, hello.jwt, session, address)
        if proven is not None and skeleton(proven.name) != skeleton(hello.name):
            text = f"you have signed in as {proven.name}, but hello says {hello.name}: say the same name"
            raise RefusedClientError("bad_login", text)
        return proven

    def _check_bans(self, person: Person) -> None:
        """Raise RefusedClientError for a person that the cluster has banned."""
        ban = self.directory.bans.of(person)
        if ban is not None:
            left = max(0.0, (ban.ends - self.directory.store.now()) / 1000) if ban.ends else None
            why = f": {ban.reason}" if ban.reason else ""
            raise RefusedClientError("banned", f"{ban.by} has banned {ban.who} from this cluster{why}", left)


@contextmanager
def answered() -> Iterator[None]:
    """Turn the failures of the directory, and of what a client gave, into refusals."""
    try:
        yield
    except DirectoryError as error:
        raise RefusedClientError("unavailable", str(error), 1.0) from None
    except UsageError as error:
        raise RefusedClientError("bad_request", str(error)) from None
