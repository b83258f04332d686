"""One room on this node: it takes posts in, puts them into one order, and delivers them to its members.

This module owns a room's state; any thread may call it. At most one thread at a time is the combiner, which alone
appends, publishes and delivers. Nothing may be sent, logged or called back while the mutex is held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import chain
from typing import Any

from parlour.node.log import LogError
from parlour.node.rooms.announcer import Announcer
from parlour.node.rooms.batch import Arrival, Batch, parts
from parlour.node.rooms.batchsizer import BatchSizer
from parlour.node.rooms.combiner import Combiner
from parlour.node.rooms.commit import NOTHING, Commit, acknowledge, refuse, settle
from parlour.node.rooms.context import RoomContext
from parlour.node.rooms.delivery import Delivery
from parlour.node.rooms.groups import MemberGroups
from parlour.node.rooms.judgement import Judgement
from parlour.node.rooms.member import Member
from parlour.node.rooms.postqueue import PostQueue, Submission
from parlour.node.rooms.presence import RoomPresence
from parlour.node.rooms.reorder import HELD
from parlour.node.rooms.repair import Repair
from parlour.node.rooms.timeline import Timeline
from parlour.runtime.locks import make_lock
from parlour.wire import relay as wire
from parlour.wire.messages import Join, Joined, Message
from parlour.wire.room_state import RoomState

__all__ = ["Room"]


class Room:
    """A room and its members on this node."""

    def __init__(self, name: str, context: RoomContext) -> None:
        self.name = name
        self._context = context
        # Guards all fields below. Rank 30.
        self._mutex = make_lock(30, f"room {name}")
        self._combiner = Combiner(self._step, context.workers, context.scheduler)
        self._queue = PostQueue(context.settings.queued_posts)
        self._arrivals: list[Arrival] = []
        self._members = MemberGroups()
        self._timeline = Timeline(context.settings.ring_bytes)
        self._delivery = Delivery(context, self._mutex, self._timeline)
        self._presence = RoomPresence(name, context, self._mutex, self._presence_due)
        self._repair = Repair(self, context)
        self._announcer = Announcer(name, context, self._mutex, self._timeline, self._presence)
        self._sizer = BatchSizer()
        self._judgement = Judgement(name)
        self._commit = Commit(name, context.log, self._mutex, self._judgement, self._announcer)

    @property
    def epoch(self) -> str:
        """The epoch in which the room delivers here; empty until the room is open."""
        return self._timeline.epoch

    @property
    def offset(self) -> int:
        """The offset of the last message delivered here."""
        return self._timeline.offset

    @property
    def state(self) -> RoomState:
        """The newest state of the room that is known here."""
        return self._judgement.state

    @property
    def names(self) -> Collection[str]:
        """The names in the room, on all nodes. Other threads change it: copy it before you go through it."""
        return self._presence.names

    def open(self, peers: set[str]) -> None:
        """Read the room's last offset from the log, and wait for the members of the other nodes; raises LogError.

        The caller has subscribed on the relay before. Until the other nodes notice that, this room misses messages. The
        log head that each of them then publishes shows the loss.
        """
        extent = self._context.log.extent(self.name)
        last = self._repair.last_message(extent.top)
        self._commit.read_state(extent.epoch)
        with self._mutex:
            self._timeline.begin(extent, last)
            self._presence.wait_for_peers(peers, self._context.settings.roster_wait)
        self.combine()

    # --- members ----------------------------------------------------------------------------------------------

    def enter(self, member: Member[Any], join: Join) -> Joined:
        """Add a member, if it is not in the room yet; return where it begins, which the caller tells its writer.

        Raises RefusedJoinError if the member may not enter, and LogError if the room has to ask the log and the log
        does not answer.
        """
        with self._mutex:
            kept, found = self._timeline.local_extent(join, member.modern), False
            inside, others = self._members.has(member), self._presence.others(member)
        state = None if inside else self._judgement.admit(member, join.password, others)
        if kept is None:
            kept, found = self._repair.check_join(join, self.epoch, member.modern)
        with self._mutex:
            if not self._members.has(member) and self._judgement.state is not state:
                self._judgement.admit(member, join.password, others)  # by the state that changed just now
            after, recovered = self._timeline.join_position(join, kept, found, member.modern)
            member.history = join.history
            if self._members.add(member):
                self._presence.enter(member)
            here = kept.epoch == self.epoch  # else the member waits until this room is in that epoch, too
            last = self._timeline.last.id if here and member.modern and after == self.offset else ""
            return Joined(self.name, kept.epoch, self.offset if here else kept.top, after, recovered, last)

    def show(self, member: Member[Any]) -> None:
        """Show a member as the person that it is now."""
        with self._mutex:
            if self._members.has(member):
                self._presence.enter(member)
        self.combine_elsewhere()

    def leave(self, member: Member[Any], grace: float = 0.0) -> None:
        """Remove a member; tell the others at once, or after `grace` seconds if its session is not back by then."""
        with self._mutex:
            self._remove(member, grace)
        if grace:
            self._context.scheduler.after(grace, self._drop_expired)
        else:
            self._drop_expired()

    def _remove(self, member: Member[Any], grace: float) -> None:
        """Remove a member. The caller holds the mutex."""
        self._members.remove(member)
        last = all(other.observer or other.session != member.session for other in self._members)
        self._presence.leave(member, grace if last else None)

    def found(self, member: Member[Any]) -> None:
        """Make a member's account the owner of the room, if nobody has said anything in it yet."""
        if not self.offset and (post := self._judgement.founding_post(member)) is not None:
            self.submit(Submission(member, [post], 0, time.monotonic()))

    def _drop_expired(self) -> None:
        """Drop the members whose grace period has ended."""
        with self._mutex:
            self._presence.drop_expired()
        self.combine()

    def want_roster(self, member: Member[Any], whole: bool = False) -> None:
        """Have the next combiner send the list of names to a member; at most 200 names unless `whole`."""
        with self._mutex:
            self._presence.want(member, whole)

    @property
    def empty(self) -> bool:
        """Whether the room has no member on this node and no work to do."""
        with self._mutex:
            return not (self._members or self._presence.in_grace or self._combiner.busy or self._queue)

    # --- input ------------------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> None:
        """Have the posts logged and delivered: by the present combiner, else by this thread.

        If the room is flooded, the caller waits here for a free place; if none comes free, its posts are refused.
        """
        with self._mutex:
            waiter = self._queue.put(submission)
            mine = waiter is None and self._combiner.claim()
        if mine:
            self._combiner.run()
        elif waiter is not None and not waiter.admitted.wait(self._context.settings.queue_wait):
            with self._mutex:
                late = self._queue.give_up(waiter)
            if late:
                refuse(self.name, [submission], "busy", "the room is flooded: say it again in a moment")

    def settle(self, member: Member[Any], timeout: float) -> None:
        """Wait, at most `timeout` seconds, until the member's posts are delivered or refused, and its list is sent."""
        settled = threading.Event()
        self.submit(Submission(member, [], 0, time.monotonic(), settled))
        settled.wait(timeout)

    def progress(self) -> tuple[int, int]:
        """Return the last offset that the room has delivered here, and the highest one that any source has claimed."""
        with self._mutex:
            return self.offset, self._timeline.known

    def check_log(self) -> None:
        """Read the room's last offset from the log; raises LogError."""
        self._repair.check_log()

    def arrive(
        self, epoch: str, top: int, batch: Batch | None = None, trimmed: int = 0, offset: int = 0, known: int = 0
    ) -> None:
        """Take news from another node or the log: the room's last offset, perhaps with the batch that ends there.

        `offset` and `known` are the results of `progress` before the log was asked.
        """
        with self._mutex:
            if len(self._arrivals) == HELD:
                last = self._arrivals.pop()
                # Keep the top alone: the log has the batches that are dropped here.
                top, batch = max(top, last.top) if epoch == last.epoch else top, None
            self._arrivals.append(Arrival(epoch, top, batch, trimmed, offset, known))
        self.combine_elsewhere()

    def receive_batch(self, header: wire.RelayBatch, frames: bytes, changes: list[Message]) -> None:
        """Take the frames of messages from another node; `changes` are those of them that are of `CHANGE_KINDS`."""
        self.arrive(header.epoch, header.last, Batch(header.first, header.last, frames, changes))

    def receive_log_head(self, header: wire.LogHead) -> None:
        """Take the last offset of the room, as another node knows it."""
        self.arrive(header.epoch, header.offset)

    def receive_snapshot(self, header: wire.PresenceSnapshot) -> None:
        """Take the list of all members on another node."""
        with self._mutex:
            self._presence.replace(header)
        self.combine_elsewhere()

    def receive_delta(self, header: wire.PresenceDelta) -> bool:
        """Take changes among the members on another node; return False if earlier changes are missing."""
        with self._mutex:
            known = self._presence.change(header)
        if header.members:
            self.combine_elsewhere()
        return known

    def forget(self, node: str, instance: str) -> None:
        """Drop the members of a node that is gone for good."""
        with self._mutex:
            self._presence.forget(node, instance)
        self.combine_elsewhere()

    # --- output -----------------------------------------------------------------------------------------------

    def message(self, offset: int) -> Message | None:
        """Return the message at an offset, None if ring and log lack it; raises LogError."""
        with self._mutex:
            found = self._timeline.message(offset)
        return found or self._repair.message(offset)

    def follow(self, member: Member[Any], epoch: str, offset: int) -> list[Batch] | Joined | None:
        """Return the delivered messages after a position, from the ring or the log; raises LogError.

        If they were trimmed meanwhile, or the position's epoch has ended, return the notice of the position at which
        the member continues.
        """
        with self._mutex:
            current, top = self.epoch, self.offset
            batches = self._timeline.after(offset) if epoch == current else None
        if epoch == current and (batches or offset >= top):
            self._delivery.encode(batches or (), member.subscriber.variant)
            return batches
        following = self._repair.follow(epoch, offset, current, top)
        if isinstance(following, Batch):
            self._context.load.encode(member.subscriber.variant is not None)
            return [following]
        with self._mutex:
            return self._notice(member, epoch, offset, following.trimmed)

    def _notice(self, member: Member[Any], epoch: str, offset: int, trimmed: int = 0) -> Joined | None:
        """Return the notice of a member's new position; None if it keeps this one.

        The caller holds the mutex, or is the combiner.
        """
        where = self._timeline.resume_position(epoch, offset, member.history, member.modern, trimmed)
        return where and Joined(self.name, self.epoch, max(self._timeline.began, where[0]), *where)

    def last_missing(self, offset: int) -> int | None:
        """Return the last offset of the messages that are missing after `offset`; None if the hole is gone."""
        with self._mutex:
            hole = self._timeline.hole() if self.offset == offset else None
            return hole[1] if hole is not None else None

    def announcement(self) -> list[wire.RelayMessage]:
        """Return the publications for a node that begins to listen; heartbeats then repeat them."""
        return self._announcer.announcement()

    # --- the combiner -----------------------------------------------------------------------------------------

    def combine(self) -> None:
        """Have the pending work done: by the present combiner, else by this thread."""
        if self._claim():
            self._combiner.run()

    def combine_elsewhere(self) -> None:
        """Have the pending work done: by the present combiner, else by a worker."""
        if self._claim():
            self._combiner.run_elsewhere()

    def _claim(self) -> bool:
        """Make this thread the combiner, unless another one is or the room is not open yet."""
        with self._mutex:
            return bool(self.epoch) and self._combiner.claim()

    def _step(self) -> bool:
        """Process one batch of input; return False if there was none. The combiner alone runs this."""
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
            self._repair.check_log_later()  # some of these posts may be logged
            refuse(self.name, submissions, "internal", "the node failed to handle this post: this is a bug in parlour")
            raise
        return True

    def _pending(self) -> bool:
        """Return whether the room has work besides messages. The caller holds the mutex."""
        return self._presence.pending or bool(self._timeline.hole() and not self._repair.busy)

    def _pass(self, submissions: list[Submission], arrivals: list[Arrival]) -> None:
        began = time.monotonic()
        posts = sum(len(submission.posts) for submission in submissions)
        committed = self._commit.log(submissions) if posts else NOTHING
        logged = time.monotonic() - began if posts else None
        arrivals[:0] = committed.arrivals
        if committed.failed:
            self._repair.check_log_later()
        if any(map(self._timeline.needs_log_check, arrivals)):
            self._begin_anew()
        now = time.monotonic()
        with self._mutex:
            ripe = self._timeline.take(arrivals)
            for batch in ripe:
                for message in batch.changes:
                    self._judgement.follow(self.epoch, message)
            groups = self._members.by_variant
            if self._timeline.hole():
                self._repair.mend(self.offset)
            news = self._presence.take(now) if self._presence.pending else None
            if (posts or (news and news.unpublished)) and self._announcer.heard:
                self._announcer.begin_heartbeat()
        if news is not None and news.unpublished is not None:
            self._announcer.publish(news.unpublished)
        delivered = sent = 0
        for part in parts(ripe):
            reached, size = self._delivery.deliver(part, groups)
            delivered, sent = delivered + reached, sent + size
            for message in part[-1].changes:
                self._show_out(message, chain.from_iterable(groups.values()))
        if self._timeline.contradicted:
            self._begin_anew()
        acknowledge(self.name, committed.submissions, committed.places)
        if news is not None:
            self._delivery.tell(news, chain.from_iterable(groups.values()))
        settle(submissions)
        if posts:
            with self._mutex:
                self._sizer.delivered(posts)
        if ripe or posts:
            self._context.load.count(
                posts,
                delivered,
                sum(submission.size for submission in submissions),
                sent,
                time.monotonic() - submissions[0].arrived if posts else None,
                logged,
                sum(not place.duplicate for place in committed.places),
            )

    def _show_out(self, record: Message, members: Iterable[Member[Any]]) -> None:
        """Remove those members that a record which was delivered just now shows out, and tell them."""
        for member in members:
            notice = self._judgement.removal_notice(record, member.person)
            if notice and not member.left:
                with self._mutex:
                    member.shown_out = True
                    self._remove(member, 0.0)
                    self._presence.drop_expired()
                member.subscriber.show_out(member, notice)

    def _presence_due(self) -> None:
        with self._mutex:
            self._presence.interval_elapsed()
        self.combine_elsewhere()

    def _begin_anew(self) -> None:
        """Restart the room and its members if the log does not continue from here. The combiner alone runs this."""
        if (restart := self._repair.restart_point(self._timeline)) is None:
            return
        with self._mutex:
            self._timeline.begin(*restart)
            members = list(self._members)
        with suppress(LogError):  # the next append or state record brings the newer state
            self._commit.read_state(self.epoch)
        for member in members:
            member.subscriber.restart(member, self._notice)
