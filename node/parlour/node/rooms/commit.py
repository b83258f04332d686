"""The commit of a room's posts: their judgement, their places in the log, their batches, and the answers to senders.

This module owns the way from a submission to the log; the room's combiner runs it. It must never hold a lock while it
asks the log or answers clients.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from parlour.node.log import Appended, LogError, Post, RichPost, RoomLog, StaleStateError, StateVersion
from parlour.node.rooms.announcer import Announcer
from parlour.node.rooms.batch import Arrival, Batch
from parlour.node.rooms.judgement import Judged, Judgement
from parlour.node.rooms.postqueue import Submission
from parlour.wire.codec import frame, frames
from parlour.wire.messages import Accepted, Error, Message
from parlour.wire.records import CHANGE_KINDS
from parlour.wire.relay import RelayBatch

__all__ = ["NOTHING", "Commit", "Committed", "acknowledge", "refuse", "settle"]

ATTEMPTS = 20
"""Times, at most, that posts are judged anew because another node has changed the room's state meanwhile."""


class Committed(NamedTuple):
    """What became of posts: those that have places in the log, the places, and the news for the room.

    `failed` tells that the log failed; it may have logged posts that were refused.
    """

    submissions: list[Submission]
    places: list[Appended]
    arrivals: list[Arrival]
    failed: bool


NOTHING = Committed([], [], [], False)


class Commit:
    """The commit of one room's posts."""

    def __init__(
        self, room: str, log: RoomLog, mutex: threading.Lock, judgement: Judgement, announcer: Announcer
    ) -> None:
        """Log what the judgement allows; the mutex guards its changes."""
        self._room = room
        self._log = log
        self._mutex = mutex
        self._judgement = judgement
        self._announcer = announcer

    def read_state(self, epoch: str) -> None:
        """Judge by the state that the log has; `epoch` was read from the log before. Raises LogError."""
        version, document = self._log.state(self._room)
        with self._mutex:
            self._judgement.adopt(StateVersion(epoch, version), document)

    def log(self, submissions: list[Submission]) -> Committed:
        """Log the posts that the room's state allows, part by part, publish them, and refuse the others."""
        logged, places, arrivals = list[Submission](), list[Appended](), list[Arrival]()
        while submissions:
            try:
                judged, found = self._append(submissions)
            except LogError as error:
                refuse(self._room, submissions, "unavailable", str(error))
                return Committed(logged, places, arrivals, True)
            for member, post, fault, wait in judged.refusals:
                if post.id:  # else it is the node's own
                    code = "slow" if wait else "forbidden"
                    member.subscriber.answer(frame(Error(code, fault, self._room, post.id, wait)))
            if found:
                logged += judged.submissions
                places += found
                for arrival in _arrivals_of(self._room, judged.posts, found):
                    arrivals.append(arrival)
                    if (batch := arrival.batch) is not None:
                        header = RelayBatch(arrival.epoch, batch.first, batch.last)
                        self._announcer.publish(header, batch.frames)
            submissions = judged.rest
        return Committed(logged, places, arrivals, False)

    def _append(self, submissions: list[Submission]) -> tuple[Judged, list[Appended]]:
        """Judge the posts and log the first part of them; raises LogError."""
        for _ in range(ATTEMPTS):
            judged = self._judgement.judge(submissions)
            if not judged.posts and not judged.refusals:
                return judged, []
            document = judged.state.encode() if judged.state is not None else b""
            try:
                # Without posts this only checks that nobody is refused by a state of the past.
                places = self._log.append(self._room, judged.posts, self._judgement.version, document)
            except StaleStateError as stale:
                with self._mutex:
                    self._judgement.adopt(stale.version, stale.state)
                continue
            if judged.spoken:
                self._judgement.note(judged.spoken)
            if judged.state is not None and not places[-1].duplicate:
                with self._mutex:
                    self._judgement.change(StateVersion(places[-1].epoch, places[-1].offset), judged.state)
            return judged, places
        refuse(self._room, submissions, "busy", "the room's state changes too fast: say it again in a moment")
        return Judged([], [], [], None, []), []


def _arrivals_of(room: str, posts: Sequence[Post], places: Sequence[Appended]) -> list[Arrival]:
    """Return the news that logged posts bring to their room: a batch of the new posts, and the offset of the log."""
    arrivals: list[Arrival] = []
    epoch = places[-1].epoch
    # Posts come in masses, so each costs one look at its class, and no call.
    if RichPost in set(map(type, posts)):
        messages = [
            Message(
                room,
                place.offset,
                f"{post.session}-{post.id}",
                post.by,
                place.at,
                post.text,
                post.kind,
                post.ref,
                post.account,
                post.data,
            )
            if isinstance(post, RichPost)
            else Message(room, place.offset, f"{post.session}-{post.id}", post.by, place.at, post.text)
            for place, post in zip(places, posts, strict=True)
            if not place.duplicate
        ]
        changes = [message for message in messages if message.kind in CHANGE_KINDS]
    else:
        messages = [
            Message(room, place.offset, f"{post.session}-{post.id}", post.by, place.at, post.text)
            for place, post in zip(places, posts, strict=True)
            if not place.duplicate
        ]
        changes = []
    if len(messages) < len(posts):
        # A duplicate may never have been delivered, if its node died after logging it. The room reads it from the log.
        arrivals.append(Arrival(epoch, max(place.offset for place in places), None))
    if messages:
        batch = Batch(messages[0].offset, messages[-1].offset, frames(messages), changes)
        arrivals.append(Arrival(epoch, batch.last, batch))
    return arrivals


def acknowledge(room: str, submissions: Sequence[Submission], places: Sequence[Appended]) -> None:
    """Answer posts whose sender does not receive the message itself: duplicates, refused ones, those of who left."""
    rest = iter(places)
    for submission in submissions:
        member = submission.member
        for post, place in zip(submission.posts, rest, strict=False):
            if place.offset == 0 and isinstance(post, RichPost):
                text = f"record {post.ref} is deleted"
                member.subscriber.answer(frame(Error("bad_ref", text, room, post.id)))
            elif (place.duplicate or member.left) and post.id:
                member.subscriber.answer(frame(Accepted(room, post.id, place.offset, place.at)))


def settle(submissions: Sequence[Submission]) -> None:
    """Wake the threads that wait until these posts are logged and delivered, or refused."""
    for submission in submissions:
        if submission.settled is not None:
            submission.settled.set()


def refuse(room: str, submissions: Sequence[Submission], code: str, text: str) -> None:
    """Tell the senders that their posts were not logged, and that they may succeed later."""
    for submission in submissions:
        for post in submission.posts:
            if post.id:  # else it is the node's own
                submission.member.subscriber.answer(frame(Error(code, text, room, post.id, retry_after=1.0)))
