"""The count of what a round's clients spoke and posted."""

from __future__ import annotations

from parlour.chaos.mix import ClientDialect, Mix, mix
from parlour.chaos.records import SentPost


def test_mix() -> None:
    """Each client and each post counts once, for the client's dialect."""
    posts = [
        SentPost("c1", "hi"),
        SentPost("c1", "yes", ref=1),
        SentPost("c2", "hello", "edit", 1),
        SentPost("c2", "gone", "redact", 1),
        SentPost("c3", "👍", "react", 1, refused=True),
    ]
    assert mix({"c1": ClientDialect.JSON, "c2": ClientDialect.FRAMES, "c3": ClientDialect.JSON}, posts) == [
        Mix(ClientDialect.FRAMES, 1, {"text": 0, "reply": 0, "edit": 1, "redact": 1, "react": 0}),
        Mix(ClientDialect.JSON, 2, {"text": 1, "reply": 1, "edit": 0, "redact": 0, "react": 1}),
    ]
