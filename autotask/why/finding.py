"""A check with what follows from it if it is the first that fails."""

from dataclasses import dataclass
from datetime import datetime

from autotask import reasons
from autotask.store.situation import Situation
from autotask.why.codes import Code
from autotask.why.explanation import Check, Explanation


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The outcome of a check; the fields are those of :class:`Check` and :class:`Explanation`."""

    code: Code
    text: str
    passed: bool = False
    sentence: str = ""
    advice: str = ""
    until: datetime | None = None
    place: int | None = None
    expected_wait: float | None = None

    @property
    def check(self) -> Check:
        """The part that is shown in the list."""
        return Check(self.code, self.passed, self.text)


def passed(code: Code, text: str) -> Finding:
    """Return the outcome of a check that found nothing."""
    return Finding(code=code, text=text, passed=True)


def explanation(situation: Situation, finding: Finding, checks: tuple[Check, ...] = ()) -> Explanation:
    """Return the explanation that a finding gives."""
    return Explanation(
        id=situation.id,
        code=finding.code,
        sentence=finding.sentence or sentence(finding.text),
        advice=finding.advice,
        checks=checks,
        until=finding.until,
        place=finding.place,
        expected_wait=finding.expected_wait,
        reason=reasons.of(situation),
    )


def sentence(text: str) -> str:
    """Return a text with a capital letter, unless it begins with the name of something, and a full stop."""
    first = text.partition(" ")[0].rstrip(":,;.")
    is_name = any(each.isdigit() or each in ":._@/" for each in first)
    return (text if is_name else text[:1].upper() + text[1:]) + ("" if text.endswith((".", "?", "!")) else ".")
