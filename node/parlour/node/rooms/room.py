"""One room on this node: posts in, one order, delivery to its members by whichever thread is the combiner.

This module owns a room's state; any thread may call it. At most one thread at a time is the combiner, which alone
appends, publishes and delivers, holding no lock while it does. Under the mutex nothing is sent, logged or called back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from parlour.dialects import Variant
from parlour.node.log import Appended, LogError, Post
from parlour.node.rooms.batch import Arrival, Batch
from parlour.node.rooms.batching import BatchSizer
from parlour.node.rooms.combiner import Combiner
from parlour.node.rooms.commit import acknowledge, arrivals_of, refuse
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.groups import MemberGroups
from parlour.node.rooms.heartbeat import Heartbeat, Series
from parlour.node.rooms.member import Member
from parlour.node.rooms.postqueue import PostQueue, Submission
from parlour.node.rooms.presence import Presence, PresenceNews
from parlour.node.rooms.reorder import HELD
from parlour.node.rooms.repair import Repair
from parlour.node.rooms.timeline import Timeline
from parlour.runtime.locks import make_lock
from parlour.wire import relay as wire
from parlour.wire.messages import Join, Joined, Message

__all__ = ["Room"]


class Room:
    """A room and its members on this node."""

    def __init__(self, name: str, context: RoomContext) -> None:
        self.name = name
        self._context = context
        self._topic = wire.room_topic(name)
        # Guards all fields below. Rank 30.
        self._mutex = make_lock(30, f"room {name}")
        self._combiner = Combiner(self._step, context.workers, context.scheduler)
        self._queue = PostQueue(context.settings.queued_posts)
        self._arrivals: list[Arrival] = []
        self._members = MemberGroups()
        self._timeline = Timeline(context.settings.ring_bytes)
        self._presence = Presence(name, context, self._mutex, self._presence_due)
        self._repair = Repair(self, context)
        self._heartbeat = Heartbeat(context.scheduler, self._beat)
        self._sizer = BatchSizer()

    @property
    def epoch(self) -> str:
        """The epoch of what is delivered here; empty until the room is open."""
        return self._timeline.epoch

    @property
    def offset(self) -> int:
        """The offset of the last message delivered here."""
        return self._timeline.offset

    # --- opening ----------------------------------------------------------------------------------------------

    def open(self, peers: set[str]) -> None:
        """Find out where the room stands and who is in it on the other nodes; raises LogError.

        The relay was told to subscribe before. What is said until the other nodes have heard of that is missed, and
        shown by the top that each of them publishes when it does.
        """
        extent = self._context.log.extent(self.name)
        last = self._repair.record(extent.top)
        with self._mutex:
            self._timeline.begin(extent, last)
            self._presence.wait(peers, self._context.settings.roster_wait)
        self.combine()

    # --- members ----------------------------------------------------------------------------------------------

    def enter(self, member: Member[Any], join: Join) -> Joined:
        """Add a member, if it is none yet; return where it is to begin, which the caller tells its writer.

        Raises LogError if the log has to be asked and does not answer.
        """
        with self._mutex:
            kept, found = self._timeline.reach(join, member.modern), False
        if kept is None:
            kept, found = self._repair.ask(join, self.epoch, member.modern)
        with self._mutex:
            after, recovered = self._timeline.place(join, kept, found, member.modern)
            member.history = join.history
            if self._members.add(member):
                self._presence.enter(member)
            here = kept.epoch == self.epoch  # else the member waits there until this room is in that epoch, too
            last = self._timeline.last.id if here and member.modern and after == self.offset else ""
            return Joined(self.name, kept.epoch, self.offset if here else kept.top, after, recovered, last)

    def leave(self, member: Member[Any], grace: float = 0.0) -> None:
        """Remove a member and tell the others, at once or if its session is not back in `grace` seconds."""
        with self._mutex:
            self._members.remove(member)
            last = all(other.observer or other.session != member.session for other in self._members)
            self._presence.leave(member, grace if last else None)
        if grace:
            self._context.scheduler.after(grace, self._give_up)
        else:
            self._give_up()

    def _give_up(self) -> None:
        """Drop the members whose grace is over."""
        with self._mutex:
            self._presence.give_up()
        self.combine()

    def want_roster(self, member: Member[Any], whole: bool = False) -> None:
        """Have the list of names sent to a member by the next combiner; at most 200 of them unless `whole`."""
        with self._mutex:
            self._presence.want(member, whole)

    @property
    def empty(self) -> bool:
        """Whether nobody is in the room on this node and nothing is under way in it."""
        with self._mutex:
            return not (self._members or self._presence.missing or self._combiner.busy or self._queue)

    # --- what comes in ----------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> None:
        """Have the posts logged and delivered: by the combiner there is, else by this thread.

        In a room that is flooded the caller waits here for place; if none comes free its posts are refused.
        """
        with self._mutex:
            turn = self._queue.put(submission)
            mine = turn is None and self._combiner.claim()
        if mine:
            self._combiner.run()
        elif turn is not None and not turn.come.wait(self._context.settings.queue_wait):
            with self._mutex:
                late = self._queue.give_up(turn)
            if late:
                refuse(self.name, [submission], "busy", "the room is flooded: say it again in a moment")

    def settle(self, member: Member[Any], timeout: float) -> None:
        """Wait until what the member posted is logged and delivered, or refused, at most `timeout` seconds."""
        settled = threading.Event()
        self.submit(Submission(member, [], 0, time.monotonic(), settled))
        settled.wait(timeout)

    def claims(self) -> tuple[int, int]:
        """Return how far the room is on this node, and how far it is said to be."""
        with self._mutex:
            return self.offset, self._timeline.known

    def look(self) -> None:
        """Read from the log how far the room is; raises LogError."""
        self._repair.look_now()

    def arrive(
        self, epoch: str, top: int, batch: Batch | None = None, trimmed: int = 0, offset: int = 0, known: int = 0
    ) -> None:
        """Another node, or the log, tells how far the room is, perhaps with the batch that brought it there.

        `offset` and `known` are what `claims` returned before the log was asked.
        """
        with self._mutex:
            if len(self._arrivals) == HELD:
                last = self._arrivals.pop()
                # The top alone: the log has what is dropped here.
                top, batch = max(top, last.top) if epoch == last.epoch else top, None
            self._arrivals.append(Arrival(epoch, top, batch, trimmed, offset, known))
        self.combine_elsewhere()

    def hear_batch(self, head: wire.Batch, frames: bytes, deleted: list[int]) -> None:
        """Another node sends messages of the room, as their frames joined, which delete these records."""
        self.arrive(head.epoch, head.last, Batch(head.first, head.last, frames, deleted))

    def hear_top(self, head: wire.Top) -> None:
        """Another node tells how far the room is."""
        self.arrive(head.epoch, head.offset)

    def hear_here(self, head: wire.Here) -> None:
        """Another node tells of all its members of the room."""
        with self._mutex:
            self._presence.replace(head)
        self.combine_elsewhere()

    def hear_whereabouts(self, head: wire.Whereabouts) -> bool:
        """Another node tells of changes among its members; return False if some before them were missed."""
        with self._mutex:
            known = self._presence.change(head)
        if head.members:
            self.combine_elsewhere()
        return known

    def forget(self, node: str, instance: str) -> None:
        """A node is gone for good, and its members with it."""
        with self._mutex:
            self._presence.forget(node, instance)
        self.combine_elsewhere()

    # --- what others ask --------------------------------------------------------------------------------------

    def message(self, offset: int) -> Message | None:
        """Return the message at an offset, None if it is not kept; raises LogError."""
        with self._mutex:
            found = self._timeline.message(offset)
        return found or self._repair.message(offset)

    def follow(self, member: Member[Any], epoch: str, offset: int) -> list[Batch] | Joined | None:
        """Return what follows a position, from the ring or the log, not beyond what is delivered; raises LogError.

        Where it was trimmed away meanwhile, or is of an epoch that is over, return the notice of that, behind which
        the member is to go on.
        """
        with self._mutex:
            current, top = self.epoch, self.offset
            batches = self._timeline.after(offset) if epoch == current else None
        if epoch == current and (batches or offset >= top):
            self._encode(batches or (), member.subscriber.variant)
            return batches
        following = self._repair.follow(epoch, offset, current, top)
        if isinstance(following, Batch):
            return [following]
        with self._mutex:
            return self._notice(member, epoch, offset, following.trimmed)

    def _notice(self, member: Member[Any], epoch: str, offset: int, trimmed: int = 0) -> Joined | None:
        """Tell a member at this place where it is now; None if just there. Only with the mutex, or as the combiner."""
        where = self._timeline.notice(epoch, offset, member.history, member.modern, trimmed)
        return where and Joined(self.name, self.epoch, max(self._timeline.began, where[0]), *where)

    def missing(self, offset: int) -> int | None:
        """Return the last offset of the messages that are missing after `offset`, or None if they are not any more."""
        with self._mutex:
            hole = self._timeline.hole() if self.offset == offset else None
            return hole[1] if hole is not None else None

    def announcement(self) -> list[wire.RelayMessage]:
        """Return what a node that begins to listen has to know, which it is then told again."""
        with self._mutex:
            self._heartbeat.begin()
            return [self._presence.here(), *self._top()]

    def _top(self) -> list[wire.Top]:
        """Return where the room stands, if that is known: it may be opened right now. The caller holds the mutex."""
        return [wire.Top(self.epoch, self.offset)] if self.epoch else []

    # --- the combiner -----------------------------------------------------------------------------------------

    def combine(self) -> None:
        """See to it that what came in is worked off: by the combiner there is, else by this thread."""
        if self._claim():
            self._combiner.run()

    def combine_elsewhere(self) -> None:
        """See to it that what came in is worked off: by the combiner there is, else by a worker."""
        if self._claim():
            self._combiner.run_elsewhere()

    def _claim(self) -> bool:
        """Make this thread answerable for combining, unless another is or the room is not open yet."""
        with self._mutex:
            return bool(self.epoch) and self._combiner.claim()

    def _step(self) -> bool:
        """Work off one batch of what came in; return False if there was nothing. Run by the combiner alone."""
        submissions: list[Submission] = []
        try:
            self._sizer.gather(self._mutex, self._queue)
            with self._mutex:
                submissions = self._queue.take(self._context.settings.batch_posts)
                arrivals, self._arrivals = self._arrivals, []
                if not (submissions or arrivals or self._pending()):
                    self._combiner.busy = False
                    return False
            self._pass(submissions, arrivals)
        except BaseException:
            self._repair.look()  # some of this may be logged
            refuse(self.name, submissions, "internal", "the node failed on this: a bug in parlour")
            raise
        return True

    def _pending(self) -> bool:
        """Whether something besides messages wants a pass. The caller holds the mutex."""
        return self._presence.pending or bool(self._timeline.hole() and not self._repair.busy)

    def _pass(self, submissions: list[Submission], arrivals: list[Arrival]) -> None:
        began = time.monotonic()
        posts = [post for submission in submissions for post in submission.posts]
        places = self._log(submissions, posts, arrivals) if posts else []
        logged = time.monotonic() - began if posts else None
        if any(map(self._timeline.overtaken, arrivals)):
            self._begin_anew()
        now = time.monotonic()
        with self._mutex:
            ripe = self._timeline.take(arrivals)
            groups = self._members.by_variant
            if self._timeline.hole():
                self._repair.mend(self.offset)
            news = self._presence.take(now) if self._presence.pending else None
            if (posts or (news and news.unpublished)) and self._context.relay.heard(self._topic):
                self._heartbeat.begin()
        if news is not None and news.unpublished is not None:
            self._publish(news.unpublished)
        sent = delivered = 0
        for variant, members in groups.items() if ripe else ():
            self._encode(ripe, variant)
            reached = self._context.deliver(members, variant, ripe)
            delivered += reached
            sent += reached * sum(len(batch.data(variant)) for batch in ripe)
        if self._timeline.false:
            self._begin_anew()
        acknowledge(self.name, submissions, places)
        if news is not None:
            self._tell(chain.from_iterable(groups.values()), news)
        if posts:
            with self._mutex:
                self._sizer.carried(len(posts))
        if ripe or posts:
            self._context.load.count(
                len(posts),
                delivered * (ripe[-1].last - ripe[0].first + 1) if ripe else 0,
                sum(submission.size for submission in submissions),
                sent,
                time.monotonic() - submissions[0].arrived if posts else None,
                logged,
                sum(not place.duplicate for place in places),
            )

    def _encode(self, batches: Sequence[Batch], variant: Variant | None) -> None:
        """Make the encodings of batches that are missing, and count them."""
        if variant is None:
            return
        fresh = [batch for batch in batches if not batch.has(variant)]
        for batch in fresh:
            batch.encoding(variant)
        if fresh:
            self._context.load.encode(len(fresh))
            with self._mutex:
                self._timeline.note(fresh)

    def _log(self, submissions: list[Submission], posts: list[Post], arrivals: list[Arrival]) -> list[Appended]:
        """Log the posts and publish what is new, which arrives here too; return where they stand, if they do."""
        try:
            places = self._context.log.append(self.name, posts)
        except LogError as error:
            refuse(self.name, submissions, "unavailable", str(error))
            self._repair.look()  # it may have failed after it had logged them
            return []
        came = arrivals_of(self.name, posts, places)
        for arrival in came:
            if (batch := arrival.batch) is not None:
                self._publish(wire.Batch(arrival.epoch, batch.first, batch.last), batch.frames)
        arrivals[:0] = came
        return places

    def _publish(self, head: wire.RelayMessage, frames: bytes | memoryview = b"") -> None:
        self._context.relay.publish(self._topic, head, frames)

    # --- presence ---------------------------------------------------------------------------------------------

    def _tell(self, members: Iterable[Member[Any]], news: PresenceNews) -> None:
        if news.changes is not None:
            for member in members:
                member.subscriber.tell(member, news.changes)
        for member, names in news.lists.items():
            member.subscriber.answer(names)

    def _presence_due(self) -> None:
        with self._mutex:
            self._presence.come()
        self.combine_elsewhere()

    # --- holes, heartbeats, epochs ----------------------------------------------------------------------------

    def _beat(self, series: Series) -> None:
        """Tell the other nodes where the room stands, for what of it they may have missed."""
        with self._mutex:
            heads: list[wire.RelayMessage] = [*self._top(), self._presence.heartbeat()]
            series.beaten()
        for head in heads:
            self._publish(head)

    def _begin_anew(self) -> None:
        """If one cannot go on from here with what the log has, every member starts anew. Run by the combiner alone."""
        if (renewal := self._repair.renewal(self._timeline)) is None:
            return
        with self._mutex:
            self._timeline.begin(*renewal)
            members = list(self._members)
        for member in members:
            member.subscriber.restart(member, self._notice)
