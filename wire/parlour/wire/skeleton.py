"""The skeleton of a name: names that look alike have one skeleton, and only one of them can be in use.

This module owns the rule, after Unicode Technical Standard 39, section 4; its functions are pure and may run on any
thread. A skeleton is for comparing: it must never be shown.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from parlour.wire.confusables import CONFUSABLES

__all__ = ["skeleton"]

_SAME = str.maketrans({"1": "l", "i": "l", "|": "l", "0": "o", "m": "rn"})
"""Look-alikes among ASCII letters and digits. Case counts for nothing, and `I` looks like `l`: so `i` is `l`, too."""


@lru_cache(maxsize=65536)
def skeleton(name: str) -> str:
    """Return the skeleton of a name; that of a skeleton is the skeleton itself."""
    if name.isascii():
        return name.lower().translate(_SAME)
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", name).casefold())
    like = folded.translate(_table()).casefold().translate(_table())
    return unicodedata.normalize("NFD", like.translate(_SAME))


@lru_cache(maxsize=1)
def _table() -> dict[int, str]:
    """Return the confusables as a table for `str.translate`; made when the first name needs it."""
    pairs = (word.split(":") for word in CONFUSABLES.split())
    table = {int(source, 16): "".join(chr(int(code, 16)) for code in target.split(".")) for source, target in pairs}
    # ASCII letters have a rule of their own, so that a plain name needs no table.
    return {source: target for source, target in table.items() if source >= 128}
