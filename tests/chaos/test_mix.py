"""The count of what a round's clients spoke and posted."""

from __future__ import annotations

from parlour.chaos.mix import Dialect, Mix, mix
from parlour.chaos.records import Post


def test_posts_are_counted_by_dialect_and_kind() -> None:
    """Each client and each post counts once, for the dialect that its client speaks."""
    posts = [
        Post("c1", "hi"),
        Post("c1", "yes", ref=1),
        Post("c2", "hello", "edit", 1),
        Post("c2", "gone", "redact", 1),
        Post("c3", "👍", "react", 1, refused=True),
    ]
    assert mix({"c1": Dialect.JSON, "c2": Dialect.FRAMES, "c3": Dialect.JSON}, posts) == [
        Mix(Dialect.FRAMES, 1, {"text": 0, "reply": 0, "edit": 1, "redact": 1, "react": 0}),
        Mix(Dialect.JSON, 2, {"text": 1, "reply": 1, "edit": 0, "redact": 0, "react": 1}),
    ]
