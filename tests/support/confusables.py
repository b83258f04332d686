"""The maker of `wire/parlour/wire/confusables.py`, from the table of the library confusable-homoglyphs.

Run `python -m support.confusables` with that library installed. It writes the pairs of Unicode TS 39 that matter for
names: those whose first character stays as it is when a name is normalized and case-folded.
"""

from __future__ import annotations

import json
import textwrap
import unicodedata
from importlib.resources import files

from support.source import ROOT

TARGET = ROOT / "wire" / "parlour" / "wire" / "confusables.py"

HEAD = '''"""Characters that look like others: the confusables of Unicode Technical Standard 39, for `skeleton`.

This module is data, written by `python -m support.confusables`; do not change it by hand. The data are Unicode's, from
https://www.unicode.org/Public/security/latest/confusables.txt: copyright Unicode, Inc., used under the Unicode License
v3 (https://www.unicode.org/license.txt).
"""

from __future__ import annotations

__all__ = ["CONFUSABLES"]

'''


TAIL = '"""By character, the characters that it looks like, as hexadecimal code points: SOURCE:TARGET[.TARGET…]."""\n'


def fold(text: str) -> str:
    """Return the text as `skeleton` looks characters up."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())


def pairs() -> dict[str, str]:
    """Return what each character looks like; the library lists each pair in both directions."""
    table = json.loads((files("confusable_homoglyphs") / "confusables.json").read_text(encoding="utf-8"))
    like = {character: [entry["c"] for entry in entries] for character, entries in table.items()}
    found: dict[str, str] = {}
    for source, targets in like.items():
        if len(source) != 1 or len(targets) != 1 or fold(source) != source:
            continue
        (target,) = targets
        mutual = len(target) == 1 and like.get(target) == [source]
        if mutual and not (target.isascii() or target < source):
            continue  # the other one is the prototype
        folded = fold(target)
        if folded and folded != source and "\u200e" not in folded and not source.isspace():
            found[source] = folded
    return found


def main() -> None:
    """Write the module."""
    found = pairs()
    words = [f"{ord(source):x}:{'.'.join(f'{ord(c):x}' for c in target)}" for source, target in sorted(found.items())]
    lines = "\n".join(textwrap.wrap(" ".join(words), 120))
    TARGET.write_text(f'{HEAD}CONFUSABLES = """\n{lines}\n"""\n{TAIL}', encoding="utf-8")
    print(f"{len(found)} characters")


if __name__ == "__main__":
    main()
