"""The results of logging posts: the batch that the room delivers, and the answers to the senders.

A room's combiner calls these three functions. It must never hold a lock then, because they write to clients.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from parlour.node.log import Appended, Post, RichPost
from parlour.node.rooms.batch import Arrival, Batch
from parlour.node.rooms.postqueue import Submission
from parlour.wire.codec import frame, frames
from parlour.wire.messages import Accepted, Error, Message
from parlour.wire.records import REDACT

__all__ = ["acknowledge", "arrivals_of", "refuse"]


def arrivals_of(room: str, posts: Sequence[Post], places: Sequence[Appended]) -> list[Arrival]:
    """Return the news that logged posts bring to their room: a batch of the new posts, and the offset of the log."""
    arrivals: list[Arrival] = []
    epoch = places[-1].epoch
    messages = [
        Message(room, place.offset, f"{post.session}-{post.id}", post.by, place.at, post.text)
        for place, post in zip(places, posts, strict=True)
        if not place.duplicate
    ]
    deleted: list[int] = []
    # Plain posts come in masses, so they cost only one look at each post's class.
    if RichPost in set(map(type, posts)):
        new = [post for place, post in zip(places, posts, strict=True) if not place.duplicate]
        messages = [_with_fields(message, post) for message, post in zip(messages, new, strict=True)]
        deleted = [message.ref for message in messages if message.kind == REDACT]
    if len(messages) < len(posts):
        # A duplicate may never have been delivered, if its node died after logging it. The room reads it from the log.
        arrivals.append(Arrival(epoch, max(place.offset for place in places), None))
    if messages:
        batch = Batch(messages[0].offset, messages[-1].offset, frames(messages), deleted)
        arrivals.append(Arrival(epoch, batch.last, batch))
    return arrivals


def _with_fields(message: Message, post: Post) -> Message:
    if not isinstance(post, RichPost):
        return message
    return replace(message, kind=post.kind, ref=post.ref, account=post.account, data=post.data)


def acknowledge(room: str, submissions: Sequence[Submission], places: Sequence[Appended]) -> None:
    """Answer posts whose sender does not receive the message itself: duplicates, refused ones, those of former members.

    Also wakes the threads that wait until a member's posts are settled.
    """
    rest = iter(places)
    for submission in submissions:
        member = submission.member
        for post, place in zip(submission.posts, rest, strict=False):
            if place.offset == 0 and isinstance(post, RichPost):
                text = f"record {post.ref} is deleted"
                member.subscriber.answer(frame(Error("bad_ref", text, room, post.id)))
            elif place.duplicate or member.left:
                member.subscriber.answer(frame(Accepted(room, post.id, place.offset, place.at)))
        if submission.settled is not None:
            submission.settled.set()


def refuse(room: str, submissions: Sequence[Submission], code: str, text: str) -> None:
    """Tell the senders that their posts were not logged, and that they may succeed later."""
    for submission in submissions:
        for post in submission.posts:
            submission.member.subscriber.answer(frame(Error(code, text, room, post.id, retry_after=1.0)))
