"""The judgement of a room's posts by the room's state, before they are logged.

This module owns the newest state that the node knows; the room's combiner changes it under the room's mutex, and any
thread may read it. It must never let a post be logged that its state forbids, nor judge a post one by one where the
state allows all texts.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any, NamedTuple

from msgspec.structs import replace

from parlour.node.log import Post, RichPost, StateVersion, kinds_of
from parlour.node.log.room_states import decode_state
from parlour.node.rooms.member import Member
from parlour.node.rooms.postqueue import Submission
from parlour.node.rooms.slowmode import SlowMode
from parlour.wire.codec import frame
from parlour.wire.errors import ParlourError
from parlour.wire.limits import is_direct
from parlour.wire.messages import Error, Left, Message, Say
from parlour.wire.people import Person
from parlour.wire.records import CHANGE_KINDS, STATE_KINDS, UTTERANCES, is_moderation
from parlour.wire.rights import MEMBER, judge, may_join, rank_of, removal
from parlour.wire.room_state import EMPTY, RoomState, fold
from parlour.wire.state_posts import cluster_operator_post, founding_post, state_post

__all__ = ["Judged", "Judgement", "Refusal", "RefusedJoinError", "change_post"]


SPEAKERS = 10_000
"""People, at most, who are remembered to be allowed to post."""


class RefusedJoinError(ParlourError):
    """A person may not enter a room; `code` is a word for programs, `retry_after` in seconds, if waiting helps."""

    def __init__(self, code: str, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after = retry_after


class Refusal(NamedTuple):
    """A post that the room's state forbids, and why; `wait` is in seconds, None if waiting does not help."""

    member: Member[Any]
    post: Post
    fault: str
    wait: float | None = None


class Judged(NamedTuple):
    """The posts of a batch that may be logged together.

    `submissions` has these posts and no others. `state` is the state that the last of them makes, if it is a state
    record; the posts that follow it, in `rest`, have to be judged by that state. In a slow room `spoken` has those who
    posted texts.
    """

    submissions: list[Submission]
    posts: list[Post]
    refusals: list[Refusal]
    state: RoomState | None
    rest: list[Submission]
    spoken: Collection[Person] = ()


class Judgement:
    """The state of one room, and what it allows."""

    def __init__(self, room: str) -> None:
        self._room = room
        self.version = StateVersion("", 0)
        self.state = EMPTY
        self._slow_mode = SlowMode()
        self._speakers: set[Person] = set()
        """Those who may post by this state. Time alone changes that for nobody: sanctions end."""

    def adopt(self, version: StateVersion, document: bytes) -> None:
        """Judge by the state that the log has; raises LogError if its document cannot be read."""
        self.change(version, decode_state(self._room, document))

    def change(self, version: StateVersion, state: RoomState) -> None:
        """Judge by this state."""
        self.state = replace(state, version=version.offset)
        self.version = version
        self._speakers = set()

    def follow(self, epoch: str, record: Message) -> None:
        """Take in a state record whose turn it is, unless the state has it already."""
        if epoch == self.version.epoch and record.offset > self.version.offset:
            self.change(StateVersion(epoch, record.offset), fold(self.state, record))

    def admit(self, member: Member[Any], password: str, others: int | None) -> RoomState:
        """Return the state by which a member may enter a room in which so many others are; raises RefusedJoinError.

        `others` is None for a member that comes back after a loss of its connection: only a ban keeps it out. The check
        of a password takes 20 ms.
        """
        state = self.state
        if member.shown_out:
            raise RefusedJoinError("kicked", "you were shown out just now: join again")
        fault = may_join(state, member.person, password, others or 0, _now())
        if fault is not None and (others is not None or fault.code == "banned"):
            raise RefusedJoinError(fault.code, fault.text)
        return state

    def removal_notice(self, record: Message, person: Person) -> bytes:
        """Return the frames that tell a person that a record shows it out; empty if it does not."""
        fault = removal(self.state, person, record)
        return frame(Error(fault.code, fault.text, self._room)) + frame(Left(self._room)) if fault is not None else b""

    def founding_post(self, member: Member[Any]) -> RichPost | None:
        """Return the post that makes a member's account the owner of a room without state; None if it cannot."""
        person = member.person
        if self.version.offset or member.observer or not person.account or is_direct(self._room):
            return None
        text, data = founding_post(person)
        return RichPost(member.session, 0, person.name, _now(), text, "role", 0, person.account, data)

    def judge(self, submissions: list[Submission]) -> Judged:
        """Return which of the first posts may be logged, up to the first state record."""
        posts = [post for submission in submissions for post in submission.posts]
        if self.state.open and not self.state.settings.slow and CHANGE_KINDS.isdisjoint(kinds_of(posts)):
            return Judged(submissions, posts, [], None, [])
        return self._judge_each(submissions)

    def _judge_each(self, submissions: list[Submission]) -> Judged:
        now = _now()
        faults: dict[Person, str] = {}
        slow, spoken = self.state.settings.slow, set[Person]()
        judged = Judged([], [], [], None, [], spoken)
        for place, submission in enumerate(submissions, 1):
            member, allowed = submission.member, list[Post]()
            if not slow and member.person in self._speakers and CHANGE_KINDS.isdisjoint(kinds_of(submission.posts)):
                judged.submissions.append(submission)
                judged.posts.extend(submission.posts)
                continue
            for number, post in enumerate(submission.posts, 1):
                fault = self._fault(member.person, post, now, faults)
                if fault:
                    judged.refusals.append(Refusal(member, post, fault))
                    continue
                if slow and (wait := self._wait(member.person, post, now, spoken)):
                    fault = f"this room is slow: a member may post every {slow} s, the next time in {wait:g} s"
                    judged.refusals.append(Refusal(member, post, fault, wait))
                    continue
                post = self._signed(member.person, post, now)
                allowed.append(post)
                if isinstance(post, RichPost) and post.kind in STATE_KINDS:
                    rest = [replace(submission, posts=submission.posts[number:]), *submissions[place:]]
                    judged.submissions.append(replace(submission, posts=allowed))
                    judged.posts.extend(allowed)
                    return judged._replace(state=fold(self.state, _record(self._room, post)), rest=rest)
            judged.submissions.append(replace(submission, posts=allowed))
            judged.posts.extend(allowed)
        return judged

    def _signed(self, person: Person, post: Post, now: int) -> Post:
        """Return a post with a mark if it needs the right of an operator of the cluster, for everybody to see."""
        if not (person.operator and isinstance(post, RichPost)):
            return post
        if not (post.kind in STATE_KINDS or is_moderation(post.kind, post.data)):
            return post
        if not judge(self.state, replace(person, operator=False), post.kind, post.data, now):
            return post
        text, data = cluster_operator_post(post.text, post.data)
        return replace(post, text=text, data=data)

    def _wait(self, person: Person, post: Post, now: int, spoken: set[Person]) -> float:
        """Return for how many seconds a person must wait in a slow room; `spoken` has those who post in this batch."""
        if (isinstance(post, RichPost) and post.kind not in UTTERANCES) or rank_of(self.state, person) > MEMBER:
            return 0.0
        slow = self.state.settings.slow
        wait = 1000 * slow if person in spoken else self._slow_mode.wait(person, slow, now)
        if not wait:
            spoken.add(person)
        return wait / 1000

    def note(self, spoken: Collection[Person]) -> None:
        """Note that posts of these people were logged: in a slow room they wait then."""
        self._slow_mode.note(spoken, self.state.settings.slow, _now())

    def _fault(self, person: Person, post: Post, now: int, known: dict[Person, str]) -> str:
        """Return why the person may not post this, or ""; `known` has those who may not post in this batch."""
        if isinstance(post, RichPost) and post.kind in CHANGE_KINDS:
            return judge(self.state, person, post.kind, post.data, now)
        if person in self._speakers:
            return ""
        if person not in known:
            known[person] = judge(self.state, person, "", {}, now)
            if not known[person]:
                if len(self._speakers) >= SPEAKERS:
                    self._speakers.clear()
                self._speakers.add(person)
        return known[person]


def change_post(session: str, person: Person, say: Say, at: int) -> RichPost:
    """Return the post that is logged for a client's post of one of `STATE_KINDS`; raises UsageError."""
    text, data = state_post(say.kind, say.text, say.data, at)
    return RichPost(session, say.id, person.name, at, text, say.kind, 0, person.account, data)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _record(room: str, post: RichPost) -> Message:
    """Return the record that the log will have of a post; its offset is not known yet."""
    identity = f"{post.session}-{post.id}"
    return Message(room, 0, identity, post.by, post.at, post.text, post.kind, post.ref, post.account, post.data)
