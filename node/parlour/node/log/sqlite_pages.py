"""The pages of a SQLite file: finding and cleaning stained pages, which hold copies of rows that moved elsewhere.

This module reads the file itself, by SQLite's published format. What it finds is only a hint, as the file may change
meanwhile. It runs on the checkpoint thread. It must never write to the file except through SQLite.

With `secure_delete` SQLite overwrites deleted rows with zeros, but not moved ones. When it splits a page, a copy of a
moved row may stay in the gap of the old page, between the list of rows and the rows; one message in a hundred had such
a copy. SQLite clears the gap when a row grows by all free bytes of the page.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, NamedTuple

from parlour.runtime.locks import make_lock

__all__ = ["ROOM", "RawFile", "StainedPage", "clean", "stained_pages"]

ROOM = 2**38
"""The id of a batch is its room's id times this plus its last offset, so a room's batches are adjacent and in order."""

_TABLE_LEAF = 13
"""The first byte of a page with rows of a table."""

_HEADER = 8
"""Bytes of such a page before its list of rows; each row takes two bytes in the list."""

_UNUSABLE = 35
"""Bytes of a page that a row cannot use; the rest of a longer row is on other pages. No copy has text before this."""

_TEXT = re.compile(rb"[\x10-\xff]{2}")
"""Two bytes that occur in texts, but not in an old list of rows or of free blocks: there every other byte is low."""


class StainedPage(NamedTuple):
    """A page whose gap is not empty: its number (from 0), the id of a row to grow, and by how many bytes."""

    number: int
    row: int
    growth: int


class RawFile:
    """Direct access to a file's bytes. Open it before a connection of SQLite, and close it after the connection.

    By POSIX, closing any descriptor of a file drops all locks of the process on it, those of SQLite too. So a process
    has one descriptor for each file, which the last holder closes.
    """

    # Guards _held. Rank 76.
    _mutex = make_lock(76, "sqlite raw files")
    _held: ClassVar[dict[tuple[int, int], tuple[int, int]]] = {}  # descriptor and count, by device and inode

    def __init__(self, path: Path) -> None:
        """Open the file, or share the open descriptor; raises OSError."""
        with self._mutex:
            stat = os.stat(path)
            self._file = (stat.st_dev, stat.st_ino)
            descriptor, holders = self._held.get(self._file) or (os.open(path, os.O_RDONLY), 0)
            self._held[self._file] = (descriptor, holders + 1)
        self._descriptor = descriptor

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start` on, or as many as there are; raises OSError."""
        return os.pread(self._descriptor, size, start)

    def close(self) -> None:
        """Give the descriptor up; the last holder closes it."""
        with self._mutex:
            if self._descriptor < 0:
                return  # closed before
            self._descriptor = -1
            descriptor, holders = self._held.pop(self._file)
            if holders > 1:
                self._held[self._file] = (descriptor, holders - 1)
            else:
                os.close(descriptor)


def stained_pages(file: RawFile, ranges: Iterable[range]) -> Iterator[StainedPage]:
    """Yield the stained pages with batches among the pages of the file in these ranges; raises OSError."""
    size = _number(file.read(16, 2).ljust(2, b"\0"), 0)
    size = 65536 if size < 512 else size
    for numbers in ranges:
        block = file.read(numbers.start * size, len(numbers) * size)
        if not block:
            return
        for number, start in zip(numbers, range(0, len(block) - size + 1, size), strict=False):
            if block[start] == _TABLE_LEAF:
                with suppress(IndexError):  # the page was being written
                    found = _look(number, block[start : start + size])
                    if found is not None and found.row >= ROOM:
                        yield found


def clean(connection: sqlite3.Connection, page: StainedPage) -> None:
    """Make the page's row grow and shrink again in one transaction, which clears the gap; raises sqlite3.Error."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        for (posts,) in connection.execute("SELECT posts FROM batches WHERE id = ?", (page.row,)).fetchall():
            for content in (posts + bytes(page.growth), posts):
                connection.execute("UPDATE batches SET posts = ? WHERE id = ?", (content, page.row))


def _look(number: int, page: bytes) -> StainedPage | None:
    """Return how to clean a page with rows; None if it is clean."""
    count, top = _number(page, 3), _number(page, 5) or len(page)
    bottom = _HEADER + 2 * count
    gap = page[max(bottom, _UNUSABLE if count == 1 else 0) : top].strip(b"\0")
    if not gap or not _TEXT.search(gap):
        return None
    free, last, block = page[7] + top - bottom, 0, _number(page, 1)
    while block > last:
        free += _number(page, block + 2)
        last, block = block, _number(page, block)
    for entry in range(_HEADER, bottom, 2):
        start = _number(page, entry)
        if start > top or count == 1:  # growing the row at the gap's edge would leave the gap's bytes in it
            payload, after = _varint(page, start)
            return StainedPage(number, _varint(page, after)[0], _growth(payload, len(page), max(free - 4, 1)))
    return None


def _growth(payload: int, size: int, wanted: int) -> int:
    """Return by how many bytes a row must grow so that its part on the page grows by `wanted`, or as far as it can."""
    most, least, rest = size - _UNUSABLE, (size - 12) * 32 // 255 - 23, size - 4
    part = payload if payload <= most else least + (payload - least) % rest
    if part <= most:
        return min(wanted, most - part)
    return min(wanted, most - least) + rest - (part - least)


def _number(page: bytes, start: int) -> int:
    return page[start] << 8 | page[start + 1]


def _varint(page: bytes, start: int) -> tuple[int, int]:
    """Return the varint (of SQLite's format) at `start`, and the position after it."""
    value = 0
    for index in range(start, start + 8):
        value = value << 7 | page[index] & 0x7F
        if page[index] < 0x80:
            return value, index + 1
    return value << 8 | page[start + 8], start + 9
