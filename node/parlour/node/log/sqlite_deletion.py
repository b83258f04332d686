"""The deletion of records in a SQLite room log: a deleted record's row is rewritten, and so are those of its edits.

This module owns the table `edits`, in which the edits of a record are found without a look through the room. The
caller is within a write transaction. It must never leave a deleted text in a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Raw
from msgspec.structs import replace

from parlour.node.log import Post, RichPost
from parlour.node.log.sqlite_file import SqliteFile
from parlour.node.log.sqlite_pages import ROOM
from parlour.wire.codec import Decoder, encode
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REDACT

__all__ = ["RAW", "Deletion"]

RAW: Decoder[list[Raw]] = Decoder(list[Raw], ours=True)
"""A batch whose posts stay encoded, with what a newer version may have added to them."""

_POST: Decoder[RichPost] = Decoder(RichPost, ours=True)


class Deletion:
    """The edits of all rooms, and the deletion of records."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def follow(self, room: int, first: int, posts: Sequence[Post]) -> None:
        """Remember the edits among posts that were logged from offset `first` on, and delete what they say."""
        for offset, post in enumerate(posts, first):
            if not isinstance(post, RichPost):
                continue
            if post.kind == EDIT:
                self._file.writer.execute("INSERT INTO edits VALUES (?, ?, ?)", (room, post.ref, offset))
            elif post.kind == REDACT and 0 < post.ref < offset:
                self._delete(room, post.ref)

    def trimmed(self, room: int, offset: int) -> None:
        """Forget the edits of records up to an offset: these records are forgotten, too."""
        self._file.writer.execute("DELETE FROM edits WHERE room = ? AND ref <= ?", (room, offset))

    def _delete(self, room: int, offset: int) -> None:
        """Delete a record and its edits; a record that was trimmed, or is gone, is left alone."""
        if not self._erase(room, [offset]):
            return
        writer = self._file.writer
        edits = writer.execute("SELECT offset FROM edits WHERE room = ? AND ref = ? ORDER BY offset", (room, offset))
        self._erase(room, [edit for (edit,) in edits.fetchall()])
        writer.execute("DELETE FROM edits WHERE room = ? AND ref = ?", (room, offset))
        self._file.journal.note_deletion(writer)

    def _erase(self, room: int, offsets: Iterable[int]) -> bool:
        """Rewrite the batches of these records, which are in order; return whether any record was there to erase."""
        writer = self._file.writer
        row, first, posts, changed = 0, 0, list[Raw](), False
        for offset in offsets:
            if offset >= first + len(posts):
                found = writer.execute(
                    "SELECT id, first, posts FROM batches WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
                    (room * ROOM + offset, (room + 1) * ROOM),
                ).fetchone()
                if found is None:
                    break
                row, first, posts = found[0], found[1], self._file.decode(found[2], RAW)
            if offset < first:
                continue  # it was trimmed
            post = self._file.decode(bytes(posts[offset - first]), _POST)
            if post.kind != GONE:
                posts[offset - first] = Raw(encode(replace(post, kind=GONE, text=GONE_TEXT, ref=0, data={})))
                writer.execute("UPDATE batches SET posts = ? WHERE id = ?", (encode(posts), row))
                changed = True
        return changed
