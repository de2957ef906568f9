"""Known names that are like an unknown one."""

import difflib
from collections.abc import Iterable


def similar(name: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that the writer of an unknown one may have meant."""
    known = list(known)
    # People remember the last part of a name.
    same_end = [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]]
    return (same_end or difflib.get_close_matches(name, known, 3, cutoff=0.8))[:3]


def meant(names: Iterable[str]) -> str:
    """Return a suggestion of these names; "" if there are none."""
    said = " or ".join(map(repr, names))
    return f" (did you mean {said}?)" if said else ""
