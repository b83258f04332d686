"""The rights in a room: who may change its state, who may speak, who may come in."""

from __future__ import annotations

import functools
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parlour.wire.errors import ProtocolError, UsageError
from parlour.wire.masks import check_mask, mask_hits
from parlour.wire.messages import Message
from parlour.wire.people import Person
from parlour.wire.records import ACTION, EDIT, MODERATED, REDACT, SAID, STATE_KINDS
from parlour.wire.rights import judge, may_join, name_fault, rank_of, removal
from parlour.wire.room_state import EMPTY, MAX_ENTRIES, MAX_STATE, RoomState, Sanction, fold
from parlour.wire.skeleton import skeleton
from parlour.wire.state_posts import (
    SETTINGS,
    StatePost,
    cluster_operator_post,
    deletion_post,
    founding_post,
    state_post,
)

NOW = 1_700_000_000_000

ADA = Person("ada", "ada")
BOB = Person("bob", "bob", address="192.0.2.7")
CY = Person("cy")
ROOT = Person("root", "root", operator=True)


def record(post: StatePost, kind: str, by: Person, offset: int, at: int = NOW) -> Message:
    """Return the record of a post."""
    return Message("lobby", offset, f"s-{offset}", by.name, at, post.text, kind, 0, by.account, post.data)


def founded(*posts: tuple[Person, str, str, dict[str, Any]]) -> RoomState:
    """Return the state of a room that ada has founded, after these posts, each of which must be allowed."""
    state = fold(EMPTY, record(founding_post(ADA), "role", ADA, 1))
    for offset, (by, kind, text, data) in enumerate(posts, 2):
        post = state_post(kind, text, data, NOW)
        assert judge(state, by, kind, post.data, NOW) == ""
        state = fold(state, record(post, kind, by, offset))
    return state


# --- single rules ---------------------------------------------------------------------------------------------------


def test_founder_owns_the_room() -> None:
    """The first account does, once, and only by the node's own record."""
    post = founding_post(ADA)
    assert judge(EMPTY, ADA, "role", post.data, NOW) == ""
    assert judge(EMPTY, CY, "role", founding_post(CY).data, NOW)
    assert judge(founded(), BOB, "role", founding_post(BOB).data, NOW)
    assert "founding" not in state_post("role", "", {"who": "bob", "role": "owner", "founding": True}, NOW).data
    assert judge(EMPTY, BOB, "role", {"who": "bob", "role": "owner"}, NOW)


def test_room_without_an_owner() -> None:
    """Anybody may set the topic of a room that only guests have seen; nobody may ban."""
    assert judge(EMPTY, CY, "topic", {"topic": "tea"}, NOW) == ""
    assert judge(EMPTY, CY, "ban", {"who": "bob"}, NOW) == (
        "only an operator of this room can ban people: ask an operator of the cluster"
    )
    assert judge(EMPTY, ROOT, "ban", {"who": "bob"}, NOW) == ""


def test_refusals_say_who_could() -> None:
    """Each names the owner."""
    assert judge(founded(), BOB, "topic", {"topic": "tea"}, NOW) == (
        "only an operator of this room can set the topic: ask ada"
    )


def test_ban_holds_for_look_alikes() -> None:
    """Somebody who is banned can neither speak nor come in, under no name that looks alike, until it ends."""
    state = founded((ADA, "ban", "spam", {"who": "bob", "for": 60}))
    for person in (BOB, Person("B0B"), Person("b\u043eb")):
        assert "banned from this room until 2023-11-14 22:14 UTC (spam): ask ada" in judge(state, person, SAID, {}, NOW)
        fault = may_join(state, person, "", 1, NOW)
        assert fault is not None
        assert fault.code == "banned"
    assert judge(state, BOB, SAID, {}, NOW + 60_000) == ""
    assert may_join(state, BOB, "", 1, NOW + 60_000) is None
    assert judge(founded(), BOB, SAID, {}, NOW) == ""


def test_bans_by_pattern_and_address() -> None:
    """A pattern hits names, a network hits addresses."""
    state = founded((ADA, "ban", "", {"who": "spam*"}), (ADA, "mute", "", {"who": "192.0.2.0/24"}))
    assert judge(state, Person("spammer"), ACTION, {}, NOW)
    assert "muted" in judge(state, BOB, EDIT, {}, NOW)
    assert may_join(state, BOB, "", 1, NOW) is None
    lifted = fold(state, record(state_post("unban", "", {"who": "SPAM*"}, NOW), "unban", ADA, 9))
    assert judge(lifted, Person("spammer"), SAID, {}, NOW) == ""


def test_guest_does_not_leave_its_name() -> None:
    """A name that is muted or banned, by itself or by a pattern, stays with a guest; other names do not."""
    guest = Person("spammer", address="192.0.2.9")
    for kind, word in (("mute", "muted in"), ("ban", "banned from")):
        for mask in ("spammer", "sp*"):
            state = founded((ADA, kind, "", {"who": mask, "for": 60}))
            told = f"you are {word} lobby until 2023-11-14 22:14 UTC: a guest's name stays then"
            assert name_fault(state, "lobby", guest, "cy", NOW) == told
            assert name_fault(state, "lobby", guest, "cy", NOW + 60_000) == ""
            assert name_fault(state, "lobby", CY, "dee", NOW) == ""
            assert name_fault(state, "lobby", Person("spammer", "spammer"), "cy", NOW) == ""
        assert name_fault(state, "lobby", guest, "spa", NOW) == "", "the pattern hits that, too"
        assert name_fault(founded((ADA, kind, "", {"who": "192.0.2.9"})), "lobby", guest, "cy", NOW) == ""


def test_roles() -> None:
    """The owner makes operators, who give voice; nobody touches those above; anybody may step down."""
    state = founded((ADA, "role", "", {"who": "bob", "role": "operator"}))
    eve = Person("eve", "eve")
    assert judge(state, BOB, "role", {"who": "eve", "role": "voice"}, NOW) == ""
    assert judge(state, BOB, "role", {"who": "eve", "role": "operator"}, NOW).startswith("only the owner")
    assert judge(state, BOB, "role", {"who": "bob", "role": ""}, NOW) == ""
    assert judge(state, eve, "role", {"who": "eve", "role": "voice"}, NOW)
    assert "you cannot kick ada" in judge(state, BOB, "kick", {"who": "ada"}, NOW)
    assert judge(state, ADA, "kick", {"who": "bob"}, NOW) == ""
    assert judge(state, ADA, "role", {"who": "ada", "role": ""}, NOW)
    passed = fold(state, record(state_post("role", "", {"who": "bob", "role": "owner"}, NOW), "role", ADA, 5))
    assert (passed.owner, passed.roles["ada"].role) == ("bob", "operator")


def test_deleting_what_others_said() -> None:
    """Operators delete what members and guests said, the owner also what operators said; nobody else deletes any."""
    operators: list[tuple[Person, str, str, dict[str, Any]]] = [
        (ADA, "role", "", {"who": name, "role": "operator"}) for name in ("bob", "eve")
    ]
    state = founded(*operators, (ADA, "role", "", {"who": "vic", "role": "voice"}))
    vic, dee = Person("vic", "vic"), Person("dee", "dee")

    def fault(by: Person, author: Person) -> str:
        target = Message("lobby", 7, "s-7", author.name, NOW, "x", SAID, 0, author.account)
        return judge(state, by, REDACT, deletion_post(target).data, NOW)

    for by, author in ((BOB, CY), (BOB, dee), (BOB, vic), (ADA, BOB), (ADA, CY), (ROOT, ADA)):
        assert fault(by, author) == ""
    for by, author in ((BOB, ADA), (BOB, Person("eve", "eve")), (BOB, Person("e", "EVE"))):
        assert fault(by, author).startswith("you cannot delete what ")
    for by in (vic, dee, CY, Person("bob"), Person("ada")):
        assert fault(by, CY) == "only its author and the operators of this room can delete this: ask ada"
    assert fault(BOB, Person("ada")) == "", "a guest has no role, whatever the name"
    muted = fold(state, record(state_post("mute", "", {"who": "bob"}, NOW), "mute", ADA, 9))
    assert "muted" in judge(muted, BOB, REDACT, {MODERATED: True, "account": ""}, NOW)
    assert judge(state, vic, REDACT, {}, NOW) == "", "what somebody said oneself"


def test_settings_close_the_room() -> None:
    """Each setting refuses those whom it is meant for, with a code of its own; an invitation opens the door."""
    for name, value, code in (
        ("join", "invited", "invite_only"),
        ("join", "accounts", "accounts_only"),
        ("password", "sesame", "bad_key"),
        ("limit", 1, "room_full"),
    ):
        state = founded((ADA, "setting", "", {"name": name, "value": value}))
        fault = may_join(state, CY, "", 1, NOW)
        assert fault is not None
        assert fault.code == code
        assert may_join(state, ADA, "", 1, NOW) is None
        invited = fold(state, record(state_post("invite", "", {"who": "cy"}, NOW), "invite", ADA, 7))
        assert may_join(invited, CY, "", 1, NOW) is None
    protected = founded((ADA, "setting", "", {"name": "password", "value": "sesame"}))
    assert may_join(protected, CY, "sesame", 1, NOW) is None
    assert "sesame" not in str(protected)


def test_moderated() -> None:
    """Only people with a role may post."""
    state = founded((ADA, "setting", "", {"name": "moderated", "value": True}))
    assert not state.open
    assert "moderated" in judge(state, BOB, SAID, {}, NOW)
    voiced = fold(state, record(state_post("role", "", {"who": "bob", "role": "voice"}, NOW), "role", ADA, 3))
    assert judge(voiced, BOB, SAID, {}, NOW) == ""


def test_cluster_operators_are_named() -> None:
    """They may do everything, and the record can say by what right."""
    post = cluster_operator_post(*state_post("kick", "enough", {"who": "ada"}, NOW))
    assert judge(founded(), ROOT, "kick", post.data, NOW) == ""
    assert post.text == "showed ada out (enough) (as an operator of the cluster)"
    assert post.data["cluster_operator"] is True


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("role", {"who": "bob", "role": "king"}),
        ("role", {"who": "", "role": "voice"}),
        ("ban", {"who": "*"}),
        ("ban", {"who": "bob", "for": -1}),
        ("ban", {"who": "bob", "for": "2h"}),
        ("ban", {}),
        ("kick", {"who": 7}),
        ("setting", {"name": "colour", "value": 1}),
        ("setting", {"name": "limit", "value": True}),
        ("setting", {"name": "join", "value": []}),
        ("invite", {"who": "a b"}),
    ],
)
def test_wrong_posts(kind: str, data: dict[str, Any]) -> None:
    """What is wrong is refused with a line that says what to give."""
    with pytest.raises(UsageError):
        state_post(kind, "", data, NOW)


def test_every_setting_has_a_default_that_is_allowed() -> None:
    """The table of settings and the struct are the same."""
    defaults = {name: getattr(EMPTY.settings, name) for name in EMPTY.settings.__struct_fields__}
    assert defaults.keys() == SETTINGS.keys()
    assert all(SETTINGS[name].allowed(value) for name, value in defaults.items())


def test_state_has_bounds() -> None:
    """A room takes a thousand bans and 64 KiB, and no more."""
    state, number = founded(), 0
    while not judge(state, ADA, "ban", (post := state_post("ban", "x" * 200, {"who": f"user{number}"}, NOW)).data, NOW):
        state = fold(state, record(post, "ban", ADA, number + 2))
        number += 1
    assert 100 < number <= MAX_ENTRIES
    assert len(state.encode()) <= MAX_STATE
    assert judge(state, ADA, "unban", {"who": "user1"}, NOW) == ""


def test_damaged_document() -> None:
    """It is told as such."""
    with pytest.raises(ProtocolError, match="cannot be read"):
        RoomState.decode(b"\xc1")


# --- properties -----------------------------------------------------------------------------------------------------

Played = tuple[Person, str, str, dict[str, Any]]
"""A post: who, of which kind, with which text and data of the client."""

VIC = Person("vic", "vic", address="192.0.2.8")
EVE = Person("eve", "eve")

people = st.sampled_from([ADA, BOB, CY, EVE, VIC, Person("dee"), Person("bob"), ROOT])
whos = st.sampled_from(["ada", "bob", "B0B", "cy", "eve", "vic", "root", "ad*", "a?a", "b*", "192.0.2.0/24"])
datas = st.fixed_dictionaries(
    {},
    optional={
        "who": whos,
        "role": st.sampled_from(["", "voice", "operator", "owner"]),
        "for": st.sampled_from([0, 60]),
        "name": st.sampled_from([*SETTINGS]),
        "value": st.sampled_from([True, False, 0, 1, "invited", "accounts", "members", "operators", "secret"]),
    },
)
posts = st.tuples(people, st.sampled_from(sorted(STATE_KINDS)), st.sampled_from(["", "why"]), datas)

beginnings = st.lists(
    st.sampled_from(
        [
            (ADA, "role", "", {"who": "bob", "role": "operator"}),
            (ADA, "role", "", {"who": "eve", "role": "operator"}),
            (ADA, "role", "", {"who": "vic", "role": "voice"}),
            (ADA, "role", "", {"who": "bob", "role": "owner"}),
            (ADA, "mute", "", {"who": "bob"}),
            (ADA, "ban", "", {"who": "eve"}),
            (ADA, "mute", "", {"who": "v*"}),
            (ADA, "mute", "", {"who": "192.0.2.0/24"}),
            (ADA, "setting", "", {"name": "moderated", "value": True}),
            (ROOT, "setting", "", {"name": "invite", "value": "members"}),
            (ROOT, "setting", "", {"name": "topic", "value": "members"}),
        ]
    ),
    max_size=6,
    unique_by=str,
)
"""Posts after which people have roles, are silenced, or may do more than usual. Random posts seldom come so far."""

any_text = st.text(st.characters(exclude_categories=()))  # also what UTF-8 cannot carry
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=5,
)


def play(state: RoomState, played: list[Played], log: list[Message] | None = None) -> RoomState:
    """Return the state after those of the posts that are allowed, and put their records into the log."""
    log = [] if log is None else log
    for by, kind, text, data in played:
        try:
            post = state_post(kind, text, data, NOW)
        except UsageError:
            continue
        if not judge(state, by, kind, post.data, NOW):
            log.append(record(post, kind, by, state.version + 1))
            state = fold(state, log[-1])
    return state


def standing(state: RoomState, account: str) -> int:
    """Return the rank of an account, from 0 without a role to 3 of the owner."""
    held = state.roles.get(skeleton(account)) if account else None
    return ["", "voice", "operator", "owner"].index(held.role) if held is not None else 0


def is_silent(state: RoomState, person: Person) -> bool:
    """Whether somebody may post nothing: what docs/moderation.md says, for the names and addresses of these tests."""
    rank = standing(state, person.account)
    names = {skeleton(name) for name in (person.name, person.account) if name}
    for each in (*state.bans, *state.mutes) if rank < 3 else ():
        pattern = re.compile(re.escape(skeleton(each.who)).replace(r"\*", ".*").replace(r"\?", "."))
        near = each.who == "192.0.2.0/24" and person.address.startswith("192.0.2.")
        if skeleton(each.who) in ({skeleton(person.account)} if rank == 2 else names):
            return True
        if rank < 2 and (near or any(pattern.fullmatch(name) for name in names)):
            return True
    return state.settings.moderated and rank < 1


def unlawful(before: RoomState, after: RoomState, person: Person) -> str:
    """Return what this person had no right to change, whatever records did it; "" if it had the right to all."""
    rank, owned = standing(before, person.account), before.owner != ""
    changed = {name for name in before.__struct_fields__ if getattr(before, name) != getattr(after, name)}
    if changed - {"version"} and is_silent(before, person):
        return f"{changed} although silent"
    if "owner" in changed and rank < 3:
        return "the owner"
    for who in before.roles.keys() | after.roles.keys():
        old, new = standing(before, who), standing(after, who)
        down = new < old < 3 and who == skeleton(person.account)
        needed = 3 if max(old, new) > 1 else 2
        if old != new and rank < needed and not down:
            return f"the role of {who}"
    for each in {*after.bans, *after.mutes} - {*before.bans, *before.mutes}:
        if standing(before, each.who) >= rank:
            return f"the silence of {each.who}"
    if changed & {"bans", "mutes", "settings"} and rank < 2:
        return "what operators change"
    if "topic" in changed and rank < 2 and owned and before.settings.topic != "members":
        return "the topic"
    if "invited" in changed and rank < 2 and not (owned and before.settings.invite == "members"):
        return "invitations"
    return ""


PEOPLE = [ADA, BOB, CY, EVE, VIC, Person("dee"), Person("bob"), Person("d", "dee")]
TARGETS = ["ada", "bob", "B0B", "eve", "vic", "dee", "b*"]

DEEDS: list[tuple[str, dict[str, Any]]] = [
    ("topic", {"topic": "dice"}),
    *(("role", {"who": who, "role": role}) for who in TARGETS[:-1] for role in ("", "voice", "operator", "owner")),
    *((kind, {"who": who}) for who in TARGETS for kind in ("ban", "unban", "mute", "unmute", "invite", "kick")),
    *(("setting", {"name": name, "value": True}) for name in ("moderated", "secret")),
    ("role", founding_post(BOB).data),
    ("role", founding_post(CY).data),
]
"""One of each that somebody may try, as the node writes their data."""


@given(owned=st.booleans(), beginning=beginnings, played=st.lists(posts, max_size=4))
def test_nobody_changes_what_it_has_no_right_to(owned: bool, beginning: list[Played], played: list[Played]) -> None:
    """In whatever state a room is: each deed that anybody tries is refused, or changes what its author may change."""
    state = play(founded() if owned else EMPTY, [*beginning, *played])
    for by in PEOPLE:
        for kind, data in DEEDS:
            if judge(state, by, kind, data, NOW):
                continue
            after = fold(state, record(StatePost("", data), kind, by, state.version + 1))
            founding = "founding" in data and state == EMPTY and by.account
            assert founding or unlawful(state, after, by) == "", (by, kind, data)
            assert not is_silent(state, by) or founding, (by, kind, data)


@given(beginning=beginnings)
def test_kicks_and_words_are_for_those_who_may(beginning: list[Played]) -> None:
    """What changes no state: nobody silent speaks or acts; a higher rank alone shows people out and deletes texts."""
    state = play(founded(), beginning)
    for by in PEOPLE:
        assert bool(judge(state, by, SAID, {}, NOW)) == is_silent(state, by)
        for who in TARGETS:
            rank, other = standing(state, by.account), standing(state, who)
            allowed = not is_silent(state, by) and rank >= 2 and rank > other
            assert bool(judge(state, by, "kick", {"who": who}, NOW)) != allowed
            assert bool(judge(state, by, REDACT, {MODERATED: True, "account": who}, NOW)) != allowed


@given(beginning=beginnings, played=st.lists(posts, max_size=30))
def test_owner_is_never_locked_out(beginning: list[Played], played: list[Played]) -> None:
    """Whatever the others do, operators as well: the owner comes in, speaks, keeps the role, and can undo all of it."""
    kept = [post for post in beginning if post[3].get("role") != "owner"]
    state = play(founded(), [*kept, *(post for post in played if post[0] not in (ADA, ROOT))])
    near = Person("ada", "ada", address="192.0.2.1")
    assert state.owner == "ada"
    for ada in (ADA, near):
        assert may_join(state, ada, "", 10**6, NOW) is None
        assert judge(state, ada, SAID, {}, NOW) == ""
        for kind in ("kick", "ban", "mute", "role", "setting"):
            for who in ("bob", "eve", "vic", "cy"):
                taken = record(state_post(*acts(kind, who), NOW), kind, BOB, 99)
                assert removal(fold(state, taken), ada, taken) is None
                assert judge(state, ada, kind, taken.data, NOW) == ""
    lifted = [(ADA, f"un{kind}", "", {"who": each.who}) for kind, each in sanctions(state)]
    roles = [(ADA, "role", "", {"who": role.name, "role": ""}) for role in state.roles.values()]
    clean = play(state, [*lifted, *roles, (ADA, "setting", "", {"name": "moderated", "value": False})])
    assert (clean.bans, clean.mutes, [*clean.roles], clean.open) == ((), (), ["ada"], True)


def acts(kind: str, who: str) -> tuple[str, str, dict[str, Any]]:
    """Return the kind, text and data of a post of this kind."""
    return kind, "", {"who": who, "role": "", "name": "moderated", "value": True}


def sanctions(state: RoomState) -> list[tuple[str, Sanction]]:
    """Return the bans and mutes with their kinds."""
    return [*(("ban", each) for each in state.bans), *(("mute", each) for each in state.mutes)]


@given(played=st.lists(posts, max_size=30))
def test_state_survives_its_encoding(played: list[Played]) -> None:
    """The document decodes to the same state, and the same records always give the same state."""
    log: list[Message] = []
    state = play(founded(), played, log)
    assert RoomState.decode(state.encode()) == state
    assert functools.reduce(fold, log, founded()) == state


@given(
    by=people,
    kind=st.sampled_from([*sorted(STATE_KINDS), SAID, EDIT, REDACT, "unknown"]),
    data=st.dictionaries(any_text, json_values),
    name=any_text,
)
def test_every_check_is_total(by: Person, kind: str, data: dict[str, Any], name: str) -> None:
    """Hostile data are judged and folded without an error, and posts of them are made or refused."""
    state = founded((ADA, "ban", "", {"who": "bob"}))
    data = {
        **data,
        **{name: data[key] for name, key in zip(("who", "role", "name", "value", "account"), data, strict=False)},
    }
    data[MODERATED] = True
    assert isinstance(judge(state, by, kind, data, NOW), str)
    assert fold(state, Message("lobby", 9, "s-1", by.name, NOW, "", kind, 0, by.account, data)).version == 9
    hostile = Message("lobby", 9, "s-1", by.name, NOW, "", kind, 0, by.account, data)
    after = fold(state, hostile)
    for person in (by, Person(name), Person(name, name, address=name)):
        assert isinstance(judge(after, person, kind, data, NOW), str)
        assert may_join(after, person, name, 1, NOW) in (None, may_join(after, person, name, 1, NOW))
        assert removal(after, person, hostile) in (None, removal(after, person, hostile))
        assert isinstance(name_fault(after, "lobby", person, name, NOW), str)
        assert rank_of(after, person) in range(5)
    if kind in STATE_KINDS:
        try:
            state_post(kind, name, data, NOW)
        except UsageError:
            pass


@given(mask=st.text(max_size=70), name=st.text(max_size=70))
def test_masks_are_total(mask: str, name: str) -> None:
    """Any text is a mask or is refused, and a mask that was checked stays as it is."""
    try:
        checked = check_mask(mask)
    except UsageError:
        return
    assert check_mask(checked) == checked
    assert mask_hits(checked, Person(name)) in (True, False)


# --- what must not be turned against a room -------------------------------------------------------------------------


def test_masks_take_no_time() -> None:
    """A mask with as many stars as fit is compared with the worst name at once: everybody waits for it."""
    before = time.process_time()
    assert not mask_hits(check_mask("*l" * 31 + "*z"), Person("l" * 64))
    assert mask_hits(check_mask("*l" * 31 + "*"), Person("l" * 64))
    assert time.process_time() - before < 1


def test_mask_of_brackets() -> None:
    """Brackets stand for themselves."""
    assert mask_hits("[b]*", Person("[b]ob"))
    assert not mask_hits("[b]*", Person("bob"))


def test_star_that_looks_like_one() -> None:
    """It cannot be used to hit everybody."""
    with pytest.raises(UsageError, match="everybody"):
        check_mask("\u2217")


@pytest.mark.parametrize("mask", ["bo?", "b*", "192.0.2.0/24"])
def test_operators_are_safe_from_patterns(mask: str) -> None:
    """One operator cannot silence another by a mask that names nobody; the owner can, by name."""
    operators = [(ADA, "role", "", {"who": name, "role": "operator"}) for name in ("bob", "eve")]
    state = founded(*operators, (Person("eve", "eve"), "mute", "", {"who": mask}))
    assert judge(state, BOB, SAID, {}, NOW) == ""
    assert judge(state, Person("boc", address="192.0.2.9"), SAID, {}, NOW)
    named = founded(*operators, (ADA, "ban", "", {"who": "bob"}))
    assert judge(named, BOB, SAID, {}, NOW)


def test_invitations_leave_room_for_bans() -> None:
    """Members who invite all they can keep no operator from banning, kicking and taking roles."""
    members = (ADA, "setting", "", {"name": "invite", "value": "members"})
    state, number = founded(members, (ADA, "role", "", {"who": "eve", "role": "voice"})), 0
    while not judge(state, BOB, "invite", data := {"who": f"{number:\u4e00>64}"}, NOW):
        state = fold(state, record(StatePost("", data), "invite", BOB, state.version + 1))
        number += 1
    assert 100 < number <= MAX_ENTRIES
    for kind, data in (("ban", {"who": "bob"}), ("kick", {"who": "bob"}), ("role", {"who": "eve", "role": ""})):
        assert judge(state, ADA, kind, data, NOW) == ""


def test_full_lists() -> None:
    """Bans that have ended, changed bans and roles that are taken back need no place; one more ban does."""
    bans = [(ADA, "ban", "", {"who": f"u{number}", "for": 60}) for number in range(MAX_ENTRIES)]
    state = founded(*bans)
    assert "as it can keep" in judge(state, ADA, "ban", {"who": "bob"}, NOW)
    assert judge(state, ADA, "ban", {"who": "u7"}, NOW) == ""
    assert judge(state, ADA, "mute", {"who": "bob"}, NOW) == ""
    assert judge(state, ADA, "ban", {"who": "bob"}, NOW + 86_400_000) == ""


@pytest.mark.parametrize("until", [float("inf"), float("nan"), 10**30, -1])
def test_strange_ends(until: float) -> None:
    """A record of a hostile node is folded, and its state can be kept."""
    data = {"who": "bob", "until": until}
    assert isinstance(judge(founded(), ADA, "ban", data, NOW), str)
    state = fold(founded(), record(StatePost("", data), "ban", ADA, 2))
    assert RoomState.decode(state.encode()) == state


@pytest.mark.parametrize("kind", ["ban", "mute", "role", "invite"])
def test_names_that_cannot_be_kept(kind: str) -> None:
    """A name that UTF-8 cannot carry is refused and not an error."""
    data = {"who": "\ud800", "role": "voice"}
    assert judge(founded(), ADA, kind, data, NOW) == "the room cannot keep this text or number: give another"
