"""A directory in a file beside the room log's, shared by all nodes and commands on one machine.

This module owns the file and both connections to it; any thread may call it. It must never continue with a file that
was moved away or replaced, nor leave the file readable by others.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from parlour.directory.store import DirectoryError, Document
from parlour.runtime.folders import open_private
from parlour.runtime.locks import make_lock
from parlour.runtime.sqlite_errors import describe_error

__all__ = ["SqliteStore"]

BUSY = 2.4
"""Longest wait for the changes of other threads, and again for those of other processes, in seconds."""

FORGETTING, FORGOTTEN = 10, 100
"""Changes from one deletion of ended documents to the next, and how many it deletes at most."""

_APPLICATION = 0x70726C70  # "prlp" in the file's header, which tells a directory from other databases
_FORMAT = 1

_SCHEMA = f"""
CREATE TABLE documents (key TEXT PRIMARY KEY, version TEXT NOT NULL, value BLOB NOT NULL, ends INTEGER NOT NULL);
CREATE INDEX ending ON documents (ends) WHERE ends > 0;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
"""

_INSERT = """
INSERT INTO documents (key, version, value, ends) VALUES (:key, :version, :value, :ends)
ON CONFLICT (key) DO UPDATE SET version = :version, value = :value, ends = :ends
WHERE documents.ends > 0 AND documents.ends <= :now
"""
"""Store a document that does not exist or has ended."""

_UPDATE = """
UPDATE documents SET version = :version, value = :value, ends = :ends
WHERE key = :key AND version = :expected AND (ends = 0 OR ends > :now)
"""

_DELETE = "DELETE FROM documents WHERE key = :key AND version = :expected AND (ends = 0 OR ends > :now)"

_FORGET = f"""
DELETE FROM documents WHERE rowid IN (
    SELECT rowid FROM documents WHERE ends > 0 AND ends <= :now ORDER BY ends LIMIT {FORGOTTEN}
)
"""

_KEYS = """
SELECT key FROM documents
WHERE key > :after AND key >= :prefix AND key < :beyond AND (ends = 0 OR ends > :now) ORDER BY key LIMIT :limit
"""


class SqliteStore:
    """The engine behind `sqlite:///PATH`. A reader never waits for a writer."""

    def __init__(self, path: Path, sync_full: bool = False) -> None:
        """Open the file, or make it; raises DirectoryError."""
        self._path = path
        self._sync = "FULL" if sync_full else "NORMAL"
        self._changes = 0
        # Guards the file's writer and _changes. Rank 66.
        self._writing = make_lock(66, "sqlite directory's writer")
        # Guards the file's reader. Rank 67.
        self._reading = make_lock(67, "sqlite directory's reader")
        self._closed = False
        self._writer, self._reader, self._id = self._open("")

    # --- the contract -----------------------------------------------------------------------------------------

    def now(self) -> int:
        """Return this machine's time; see `Store.now`."""
        return time.time_ns() // 1_000_000

    def get(self, key: str) -> Document | None:
        """Return a document; see `Store.get`."""
        with self._read() as reader:
            row = reader.execute("SELECT version, value, ends FROM documents WHERE key = ?", (key,)).fetchone()
        document = Document(*row) if row else None
        return document if document is not None and not 0 < document.ends <= self.now() else None

    def put(self, key: str, value: bytes, expected: str = "", ends: int = 0) -> str | None:
        """Store a document; see `Store.put`."""
        version = secrets.token_hex(8)
        changed = self._change(
            _UPDATE if expected else _INSERT,
            {"key": key, "version": version, "value": value, "ends": ends, "expected": expected},
        )
        return version if changed else None

    def delete(self, key: str, expected: str) -> bool:
        """Delete a document; see `Store.delete`."""
        return self._change(_DELETE, {"key": key, "expected": expected})

    def keys(self, prefix: str, after: str = "", limit: int = 1000) -> list[str]:
        """Return keys; see `Store.keys`."""
        with self._read() as reader:
            rows = reader.execute(
                _KEYS,
                {
                    "after": after,
                    "prefix": prefix,
                    "beyond": prefix + "\U0010ffff",  # not a character: no key has it
                    "now": self.now(),
                    "limit": limit,
                },
            ).fetchall()
        return [key for (key,) in rows]

    def close(self) -> None:
        """Close both connections; see `Store.close`."""
        with self._writing, self._reading:
            self._closed = True
            self._reader.close()
            self._writer.close()  # last: the last connection to be closed empties the journal

    # --- both connections -------------------------------------------------------------------------------------

    def _change(self, statement: str, values: dict[str, object]) -> bool:
        """Do one change of one document; return whether it was changed. Now and then, forget some that have ended."""
        values = {**values, "now": self.now()}
        with self._write():
            try:
                # One statement is a transaction of its own. The fewer there are, the less often this thread waits
                # for the interpreter while other nodes wait for the file.
                changed = self._writer.execute(statement, values).rowcount > 0
                self._changes += changed
            except (sqlite3.Error, OSError) as error:
                raise self._explain(error) from None
            if changed and self._changes % FORGETTING == 0:
                with suppress(sqlite3.Error):  # the change is done; later ones forget as well
                    self._writer.execute(_FORGET, values)
        return changed

    @contextmanager
    def _write(self) -> Iterator[None]:
        """Hold the writer's lock, with the file open that stands in its place now."""
        if not self._writing.acquire(timeout=BUSY):
            raise self._explain(sqlite3.OperationalError("database is locked"))
        try:
            self._look()
            yield
        finally:
            self._writing.release()

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        if self._is_replaced():
            with self._write():
                pass
        with self._reading:
            self._check_open()
            try:
                yield self._reader
            except (sqlite3.Error, OSError) as error:
                raise self._explain(error) from None

    def _look(self) -> None:
        """Open the file again if another one stands in its place. The caller holds the writer's lock."""
        self._check_open()
        if self._is_replaced():
            writer, reader, identity = self._open(self._id)
            with self._reading:
                old = self._reader, self._writer
                self._writer, self._reader, self._id = writer, reader, identity
            for connection in old:
                connection.close()

    def _is_replaced(self) -> bool:
        try:
            return self._stat() != self._id
        except FileNotFoundError:
            raise DirectoryError(
                f"the directory {self._path} is gone: put it back, nobody can sign in without it"
            ) from None
        except OSError as error:
            raise self._explain(error) from None

    def _check_open(self) -> None:
        if self._closed:
            raise DirectoryError("the directory is closed: the node is stopping")

    def _stat(self) -> str:
        stat = os.stat(self._path)
        return f"{stat.st_dev}:{stat.st_ino}"

    def _explain(self, error: sqlite3.Error | OSError) -> DirectoryError:
        return DirectoryError(describe_error(error, self._path, "directory"))

    # --- opening ----------------------------------------------------------------------------------------------

    def _open(self, before: str) -> tuple[sqlite3.Connection, sqlite3.Connection, str]:
        """Return a writer, a reader and the identity of the file; `before` is its identity until now, if it had one.

        Raises DirectoryError and then leaves nothing open.
        """
        path = self._path
        try:
            # For each of these SQLite would only say that it cannot open the file.
            if not path.parent.is_dir():
                raise DirectoryError(f"cannot open the directory {path}: the folder {path.parent} does not exist")
            if path.exists() and not path.is_file():
                raise DirectoryError(f"cannot open the directory {path}: it is no file; move it away")
            if not before and not self._stands():
                os.close(open_private(str(path), os.O_RDWR | os.O_CREAT))  # SQLite gives the journal the same mode
            writer = self._connect()
            try:
                self._prepare(writer)
                return writer, self._connect(), self._stat()
            except BaseException:
                writer.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise self._explain(error) from None

    def _stands(self) -> bool:
        """Return whether the file exists; raises DirectoryError if only its journal does.

        A new file must not begin then: SQLite would remove the journal, which may have the newest changes.
        """
        # Look for the journal first: another process may be making both now, and makes the file first.
        journal = Path(f"{self._path}-wal").exists()
        if journal and not self._path.exists():
            raise DirectoryError(
                f"the directory {self._path} is missing, but {self._path}-wal is there: put the file back, "
                "or remove that one to begin without accounts"
            )
        return self._path.exists()

    def _connect(self) -> sqlite3.Connection:
        uri = f"{self._path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(uri, timeout=BUSY, isolation_level=None, check_same_thread=False, uri=True)
        try:
            connection.execute(f"PRAGMA synchronous = {self._sync}")
            connection.execute("PRAGMA secure_delete = ON")  # what is removed, such as the hash of a password, is gone
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, writer: sqlite3.Connection) -> None:
        """Check that the file is a directory, or make it one."""
        (tables,) = writer.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = writer.execute("PRAGMA application_id").fetchone()
        (version,) = writer.execute("PRAGMA user_version").fetchone()
        if tables and application != _APPLICATION:
            raise DirectoryError(f"{self._path} is a database of another program: move it away")
        if tables and version != _FORMAT:
            raise DirectoryError(f"{self._path} was written by a newer parlour (format {version}): upgrade this one")
        deadline = time.monotonic() + BUSY
        while True:
            try:
                writer.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # Another process switches the file to WAL: SQLite's own time-out does not apply here.
                if "locked" not in str(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(0.01)
        writer.execute("BEGIN IMMEDIATE")
        with closing(writer.cursor()) as cursor:
            # Ask again now that no other process can write: two may make the file at the same moment.
            (tables,) = cursor.execute("SELECT count(*) FROM sqlite_master").fetchone()
            for statement in [] if tables else _SCHEMA.split(";"):
                cursor.execute(statement)
            cursor.execute("COMMIT")
