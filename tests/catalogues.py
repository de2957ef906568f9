"""The texts of the source that can be translated, and the catalogues of their translations; without the gettext tools."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django.utils.translation.template import templatize

from tests.documents import ROOT

PACKAGE = ROOT / "autotask"
LOCALE = PACKAGE / "locale"
LANGUAGES = sorted(folder.name for folder in LOCALE.iterdir())

#: What the arguments of each function are.
FUNCTIONS = {
    "gettext": ("singular",),
    "ngettext": ("singular", "plural"),
    "pgettext": ("context", "singular"),
    "npgettext": ("context", "singular", "plural"),
}

_TEXT = r"""u?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
#: A call of one of them in what Django makes of a template.
CALL = re.compile(rf"\b(n?p?gettext)\(((?:(?:{_TEXT}|count)[, ]*)+)\)")

#: The texts of one entry: context, singular, plural.
Key = tuple[str | None, str, str | None]


@dataclass
class Entry:
    """One entry of a catalogue."""

    context: str | None = None
    singular: str = ""
    plural: str | None = None
    translations: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)

    @property
    def key(self) -> Key:
        """Its texts in the source."""
        return self.context, self.singular, self.plural


def in_source() -> set[Key]:
    """Return the texts of all modules and templates."""
    found = {key for path in PACKAGE.rglob("*.py") for key in _in_python(path.read_text(encoding="utf-8"))}
    for path in (PACKAGE / "templates").rglob("*.*"):
        found.update(_in_template(path.read_text(encoding="utf-8"), str(path)))
    # One entry has the singular with and without a plural.
    plurals = {(context, singular) for context, singular, plural in found if plural is not None}
    return {key for key in found if key[2] is not None or key[:2] not in plurals}


def _in_python(source: str) -> Iterator[Key]:
    if "gettext" not in source:
        return
    tree = ast.parse(source)
    names = {
        alias.asname or alias.name: alias.name.removesuffix("_lazy")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation"
        for alias in node.names
    }
    for node in ast.walk(tree):
        name = names.get(node.func.id, "") if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        if isinstance(node, ast.Call) and (roles := FUNCTIONS.get(name)):
            yield _key(roles, node.args)


def _in_template(source: str, path: str) -> Iterator[Key]:
    # Django turns a template into calls of gettext functions, for xgettext; all else is commented out or blank.
    for name, arguments in CALL.findall(templatize(source, origin=path)):
        call = ast.parse(f"f({arguments})", mode="eval").body
        assert isinstance(call, ast.Call)
        yield _key(FUNCTIONS[name], call.args)


def _key(roles: Iterable[str], arguments: list[ast.expr]) -> Key:
    texts = {role: ast.literal_eval(argument) for role, argument in zip(roles, arguments, strict=False)}
    return texts.get("context"), texts["singular"], texts.get("plural")


def catalogue(language: str) -> list[Entry]:
    """Return the entries of the catalogue of a language, the first one of which is its header."""
    return list(_entries(LOCALE / language / "LC_MESSAGES" / "django.po"))


def _entries(path: Path) -> Iterator[Entry]:
    text = path.read_text(encoding="utf-8")
    assert "#~" not in text, "it has entries that are no longer used"
    for block in re.split(r"\n{2,}", text.strip()):
        entry = Entry()
        for flags in re.findall(r"^#, (.*)$", block, re.M):
            entry.flags |= set(flags.split(", "))
        for word, parts in re.findall(r'^(\w+(?:\[\d\])?) ((?:".*"\n?)+)', block, re.M):
            value = "".join(ast.literal_eval(part) for part in parts.strip().splitlines())
            match word:
                case "msgctxt":
                    entry.context = value
                case "msgid":
                    entry.singular = value
                case "msgid_plural":
                    entry.plural = value
                case _:
                    entry.translations.append(value)
        yield entry
