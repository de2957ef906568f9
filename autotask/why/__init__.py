"""Why a task does not run now, or what it does: a stable code, a sentence, and the checks that led there."""

from autotask.why.codes import Code
from autotask.why.document import document
from autotask.why.explanation import Check, Explanation
from autotask.why.look import explain

__all__ = ["Check", "Code", "Explanation", "document", "explain"]
