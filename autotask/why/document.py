"""The JSON document of an explanation; its keys are documented, and stay."""

from datetime import UTC
from typing import Any

from autotask.why.explanation import Explanation


def document(found: Explanation) -> dict[str, Any]:
    """Return the document of an explanation."""
    return {
        "id": str(found.id),
        "code": found.code.value,
        "sentence": found.sentence,
        "advice": found.advice,
        "until": None if found.until is None else found.until.astimezone(UTC).isoformat(),
        "place": found.place,
        "expected_wait": None if found.expected_wait is None else round(found.expected_wait, 3),
        "checks": [{"code": each.code.value, "passed": each.passed, "text": each.text} for each in found.checks],
    }
