"""The documentation uses plain English and the words of the glossary."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db.models import CheckConstraint

from autotask.models import Attempt, Claim, PastTask, ReadyTask, Result, Task
from tests.documents import ROOT, pages

DOCS = ROOT / "docs"
HOWTOS = sorted((DOCS / "howto").glob("*.rst"))
#: All pages but the tables that programs write.
READ = [ROOT / "CHANGELOG.rst", *(page for page in pages() if not re.search("_figures$", page.stem))]

#: Constructions to avoid, with better ones.
AVOIDED = {
    r"(?:^|[.:;] )What (?!you|happens|works)": "'Tasks that wait', not 'What waits'",
    r"\b(?:of|for|with|by|from|than|but|only|all|runs?|finish(?:es)?|records?|claims?) what (?!you)": "a noun",
    r"(?:^|[.:;] )Who\b": "'Anyone who', or a role such as 'The caller'",
    r"\b(?:is|are|was|were|be|been) told\b|\btells? (?:it )?of\b|\btold of\b": "report, say, notify",
    r"\bhea(?:r|rs|rd) of\b": "notice, is notified",
    r"\banew\b|\bonce more\b": "again",
    r"\bany more\b": "no longer, or leave it out",
    r"\b[Ww]hoever\b": "'Anyone who', or the statement or process that does it",
    r"\bSo it is\b": "This applies to",
    r"\b(?:tasks?|rows?|one|code) that (?:is|are) there\b": "the existing task, row, one",
    r"\b(?:he|his|him)\b": "they, or a role",
    r"\bcom(?:es?|ing) to (?:its|their|an) end\b": "run, finish",
    r"\bso many\b": "N seconds, up to 60 seconds",
    r"\bbeside\b": "next to, with, alongside",
    r"\bma(?:kes?|de|king) way\b": "is replaced, exits",
    r"\b(?:giv(?:es?|en|ing)|gave)(?: \w+)? back\b": "release; for the tasks of a dead worker, rescue",
    r"\bbecom(?:es?|ing)? of\b": "happens to",
    r"\bweather\b": "outage",
    r"\bst(?:ands?|ood|anding) still\b": "is paused, hangs",
    r"\bfor people\b": "as text",
    r"\bfor ever\b": "forever",
    r"\b(?:the|its|their) present \w+": "current",
    r"\bliv(?:es?|ing) workers?\b|\bworkers? (?:that )?lives?\b": "a running worker, a worker that is alive",
    r"\bgo(?:es|ing)? on\b": "continue, last",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bin vain\b": "without result",
    r"\bin turns\b": "alternately",
    r"\bconcerns?\b": "applies to, affects",
    r"\b(?:was|were|is|are) wanted\b": "the target was",
    r"\b(?:is|are|was|were) to be\b": "will be, should be, has to be",
    r"\bwhether \w+ (?:is|are) to\b": "should",
    r", also (?:for|with|in|of|when|if|by|to|after|on|while|those|from|where|at)\b": "even, including",
    r"[,;] so (?:is|are|do|does|has|have)\b(?! not)|\bSo (?:is|are|do|does) ": "one sentence with both subjects",
    r"\bmeanwhile[.,;)]": "until then, at the same time, while …",
    r"\blook(?:s|ed)? whether\b": "check",
    r"\bthe (?:former|latter)\b": "the noun again",
    r"\bpeople can read\b": "readable",
}

#: The words with a meaning of their own, as code and pages use them.
TERMS = """
    task function, definition, task, handle, attempt, outcome, context, progress, carrier, queue, priority, held, gate, limit, slot,
    rate, token, mark, time to live, step, model task, notice,
    live, claim, fence, offer, hand over, finish, release, rescue, lost, suspect, give up, unknown task, refuse, prune, pause,
    worker, lookout, rest, background worker, pool, executor, service, companion, guard, template, dedicated worker, supervisor, recycling, lease, grace period, outage,
    schedule, timetable, tick
"""

VERBS = {
    "Call",
    "Carry",
    "Check",
    "Choose",
    "Deploy",
    "Let",
    "Limit",
    "Pass",
    "Pause",
    "Pull",
    "Retry",
    "Run",
    "Send",
    "Show",
    "Tag",
    "Test",
    "Upgrade",
    "Use",
    "Watch",
    "Write",
}
#: The titles without a verb: people search for these words.
SEARCHED = {
    "Coming from APScheduler",
    "Coming from AsyncTask",
    "Coming from Celery",
    "Coming from RQ",
    "Coming from autotask 0.5",
    "Coming from django-background-tasks",
    "Coming from django-q2",
    "Coming from django-tasks-db",
    "Coming from huey",
    "Coming from HardWorker",
    "Coming from django-simpletask2",
    "Debounce and throttle",
    "Durable steps",
    "HTTP API",
    "Log files",
    "Production checklist",
    "Recipes",
    "Tasks as models",
    "Timeouts and cancellation",
    "Unique tasks",
}


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs and list items, one line each: no headings, no code, no literals."""
    lines: list[str] = []
    code: int | None = None
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        if code is not None and line.strip() and indent <= code:
            code = None
        if code is None and (line.endswith("::") or re.match(r" *\.\. code-block::", line)):
            code = indent
        lines.append(line.strip() if code is None else "")
    prose = re.sub(r"^.+\n([=~-])\1{2,}$", "", "\n".join(lines), flags=re.MULTILINE)
    for paragraph in re.split(r"\n\n+|\n(?=[*-] )", prose):
        yield re.sub(r"``.*?``", "…", " ".join(paragraph.split())).lstrip("*- ")


@pytest.mark.parametrize("page", READ, ids=lambda page: page.stem)
def test_a_page_uses_plain_english(page: Path):
    assert [
        f"{found[0]!r} in {paragraph[:200]!r}: better {better}"
        for paragraph in paragraphs(page.read_text(encoding="utf-8"))
        for avoided, better in AVOIDED.items()
        if (found := re.search(avoided, paragraph))
    ] == []


#: Tables, the terms of lists of definitions, and lists of pages.
NO_SENTENCES = re.compile(
    r"^ *=+(?: +=+)+\n(?:.*\n)*? *=+(?: +=+)+\n(?=\n|\Z)|^( *)\S.*\n(?=\1 +(?![*-] )\S)|^ +[\w/]+\n", re.MULTILINE
)


def sentences(page: Path) -> Iterator[str]:
    """Yield the sentences of a page, and the parts of them that end with a colon or a semicolon."""
    for paragraph in paragraphs(NO_SENTENCES.sub("\n", page.read_text(encoding="utf-8"))):
        if not paragraph.startswith((".. ", ":")):
            yield from re.split(r"(?<=[.:;?!])\s+", re.sub(r":\w+:`(.*?)(?:<.*?>)?`", r"\1", paragraph))


@pytest.mark.parametrize("page", READ, ids=lambda page: page.stem)
def test_sentences_are_short(page: Path):
    assert [sentence for sentence in sentences(page) if len(sentence.split()) > 35] == []


def test_docstrings_begin_with_a_noun_or_a_verb():
    headless = re.compile(r"^ *(?:\"\"\"|#: )(?:Return )?(?:what|who|how|where|which)\b.*", re.I | re.M)
    modules = (ROOT / "autotask").rglob("*.py")
    assert [(module.name, found) for module in modules for found in headless.findall(module.read_text())] == []


#: The constructions that comments and docstrings avoid, too. Some are usual there: what a function is told, or hears of.
IN_CODE = [
    each
    for each in AVOIDED
    if re.search("anew|any more|hoever|come|so many|beside|way|weather|ever|present|go|mend|vain|to be|look", each)
]


def texts_of(source: str) -> Iterator[str]:
    """Yield the docstrings and the comments of a module, without literals; comments of several lines line by line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield re.sub(r"``.*?``|:\w+:`.*?`", "…", " ".join((ast.get_docstring(node) or "").split()))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def test_comments_and_docstrings_use_plain_english():
    any_of_them = re.compile("|".join(IN_CODE))
    modules = [(path.name, path.read_text(encoding="utf-8")) for path in (ROOT / "autotask").rglob("*.py")]
    assert [
        (name, found[0], text)
        for name, source in modules
        if any_of_them.search(" ".join(source.split()))  # To parse all modules would take seconds.
        for text in texts_of(source)
        if (found := any_of_them.search(text))
    ] == []


def test_headings_code_and_literals_are_not_read():
    text = "What is here\n============\n\n* All is\n  ``beside`` it.\n* Next\n\n.. code-block:: text\n\n    beside\n\nLast::\n\n    anew\n"
    assert list(filter(None, paragraphs(text))) == ["All is … it.", "Next"]


def test_the_glossary_has_every_word():
    terms = re.findall(r"^ {4}(\w.*)$", (DOCS / "glossary.rst").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(", ".join(terms).split(", ")) == sorted(" ".join(TERMS.split()).split(", "))


@pytest.mark.parametrize("page", HOWTOS, ids=lambda page: page.stem)
def test_the_title_of_a_how_to_begins_with_a_verb(page: Path):
    title = page.read_text(encoding="utf-8").splitlines()[0]
    assert title in SEARCHED or re.match(r"\w+", title)[0] in VERBS


def test_each_how_to_is_in_one_of_four_groups():
    index = (DOCS / "index.rst").read_text(encoding="utf-8")
    groups = dict(re.findall(r":caption: How to: (\w+)\n +:maxdepth: 1\n\n((?: +howto/\w+\n)+)", index))
    assert list(groups) == ["Tasks", "Schedules", "Testing", "Running"]
    listed = [page for group in groups.values() for page in group.split()]
    assert sorted(listed) == [f"howto/{page.stem}" for page in HOWTOS]


def test_the_reason_for_each_index_of_tasks_and_results_is_told():
    page = (DOCS / "explanation" / "how_it_works.rst").read_text()
    names = [
        each.name
        for model in (Task, ReadyTask, Claim, Result, PastTask, Attempt)
        for each in (*model._meta.indexes, *model._meta.constraints)
        if not isinstance(each, CheckConstraint)
    ]
    assert len(names) > 10
    assert not [name for name in names if f"``{name}``" not in page]
