"""The deletion of records in a SQLite room log: it rewrites the row of a deleted record and the rows of its edits.

This module owns the table `edits`, which finds the edits of a record without a scan of the room. The caller is within a
write transaction. It must never leave a deleted text in a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Raw
from msgspec.structs import replace

from parlour.node.log import Post, RichPost
from parlour.node.log.sqlite_file import SqliteFile
from parlour.node.log.sqlite_pages import ROOM
from parlour.wire.codec import Decoder, encode
from parlour.wire.records import EDIT, GONE, GONE_TEXT, REACT, REDACT

__all__ = ["RAW", "Deletion", "parts"]

RAW: Decoder[list[Raw]] = Decoder(list[Raw], ours=True)
"""A batch whose posts stay encoded, so that fields of newer versions survive."""

_POST: Decoder[RichPost] = Decoder(RichPost, ours=True)


def parts(posts: Sequence[Post]) -> Iterator[list[Post]]:
    """Split the posts so that in no part an edit or a reaction follows a deletion, which may be of its record."""
    part: list[Post] = []
    deleting = False
    for post in posts:
        kind = post.kind if isinstance(post, RichPost) else ""
        if deleting and kind in (EDIT, REACT):
            yield part
            part, deleting = [], False
        part.append(post)
        deleting = deleting or kind == REDACT
    yield part


class Deletion:
    """The edits of all rooms, and the deletion of records."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    def follow(self, room: int, first: int, posts: Sequence[Post]) -> None:
        """Store the edits among posts that were logged from offset `first` on, and do the deletions among them."""
        for offset, post in enumerate(posts, first):
            if not isinstance(post, RichPost):
                continue
            if post.kind == EDIT:
                self._file.writer.execute("INSERT INTO edits VALUES (?, ?, ?)", (room, post.ref, offset))
            elif post.kind == REDACT and 0 < post.ref < offset:
                self._delete(room, post.ref)

    def about_deleted(self, room: int, posts: Sequence[Post]) -> list[Post]:
        """Return the posts that edit a deleted record or react to one."""
        return [
            post
            for post in posts
            if isinstance(post, RichPost) and post.kind in (EDIT, REACT) and self._is_gone(room, post.ref)
        ]

    def _is_gone(self, room: int, offset: int) -> bool:
        found = self._batch(room, offset)
        if found is None or offset < found[1]:
            return False
        return self._file.decode(bytes(found[2][offset - found[1]]), _POST).kind == GONE

    def _batch(self, room: int, offset: int) -> tuple[int, int, list[Raw]] | None:
        """Return the row, the first offset and the posts of the batch that holds an offset, or of the next batch."""
        found = self._file.writer.execute(
            "SELECT id, first, posts FROM batches WHERE id >= ? AND id < ? ORDER BY id LIMIT 1",
            (room * ROOM + offset, (room + 1) * ROOM),
        ).fetchone()
        return None if found is None else (found[0], found[1], self._file.decode(found[2], RAW))

    def trimmed(self, room: int, offset: int) -> None:
        """Forget the edits of the records up to an offset, which were trimmed."""
        self._file.writer.execute("DELETE FROM edits WHERE room = ? AND ref <= ?", (room, offset))

    def _delete(self, room: int, offset: int) -> None:
        """Delete a record and its edits; do nothing if the record was trimmed or deleted before."""
        if not self._erase(room, [offset]):
            return
        writer = self._file.writer
        edits = writer.execute("SELECT offset FROM edits WHERE room = ? AND ref = ? ORDER BY offset", (room, offset))
        self._erase(room, [edit for (edit,) in edits.fetchall()])
        writer.execute("DELETE FROM edits WHERE room = ? AND ref = ?", (room, offset))
        self._file.journal.note_deletion(writer)

    def _erase(self, room: int, offsets: Iterable[int]) -> bool:
        """Erase the records at these offsets, which are in order; return whether any was there to erase."""
        writer = self._file.writer
        row, first, posts, changed = 0, 0, list[Raw](), False
        for offset in offsets:
            if offset >= first + len(posts):
                found = self._batch(room, offset)
                if found is None:
                    break
                row, first, posts = found
            if offset < first:
                continue  # it was trimmed
            post = self._file.decode(bytes(posts[offset - first]), _POST)
            if post.kind != GONE:
                posts[offset - first] = Raw(encode(replace(post, kind=GONE, text=GONE_TEXT, ref=0, data={})))
                writer.execute("UPDATE batches SET posts = ? WHERE id = ?", (encode(posts), row))
                changed = True
        return changed
