"""The links of the documentation lead somewhere: pages, anchors, pictures and files; without a network."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils.module_loading import import_string

from tests.documents import ROOT, pages

DOCS = ROOT / "docs"
PAGES = pages()

ROLE = re.compile(r":(doc|ref|term):`(?:[^`<]*<([^`>]+)>|([^`<]+))`", re.S)
LABEL = re.compile(r"^\.\. _`?([\w.: -]+?)`?:$", re.M)
PICTURE = re.compile(r"^\s*\.\. (?:image|figure):: (\S+)$", re.M)
TERM = re.compile(r"^ {4}(\w.*)$", re.M)
#: A sentence of the README that names a file: it is read where there are no roles.
FILE = re.compile(r"\b(?:docs/[\w/.-]+\.(?:rst|png|svg)|CHANGELOG\.rst)")


def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield the roles of a page with what they name."""
    for kind, inside, alone in ROLE.findall(text(page)):
        yield kind, " ".join((inside or alone).split())


LABELS = {label.lower() for page in PAGES for label in LABEL.findall(text(page))}
TERMS = {term.lower() for line in TERM.findall(text(DOCS / "glossary.rst")) for term in line.split(", ")}


def document(page: Path, name: str) -> Path:
    """Return the file that ``:doc:`` names."""
    base = DOCS if name.startswith("/") else page.parent
    return base / f"{name.lstrip('/')}.rst"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_of_a_page_leads_somewhere(page):
    broken = []
    for kind, name in links(page):
        found = {
            "doc": lambda name: document(page, name).exists(),
            "ref": lambda name: name.lower() in LABELS | {"genindex", "modindex", "search"},
            "term": lambda name: name.lower() in TERMS,
        }[kind](name)
        broken += [] if found else [f":{kind}:`{name}`"]
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_picture_of_a_page_exists(page):
    assert [
        name for name in PICTURE.findall(text(page)) if "://" not in name and not (page.parent / name).exists()
    ] == []


AUTODOC = re.compile(r"^\.\. (currentmodule|module|auto\w+):: ([\w.]+)", re.M)


def described(page: Path) -> Iterator[str]:
    """Yield the full names of the objects whose docstrings a page shows."""
    module = ""
    for directive, name in AUTODOC.findall(text(page)):
        if "module" in directive:
            module = f"{name}."
        elif name.startswith("autotask."):
            yield name
        elif not directive.endswith(("settings", "exceptions")):
            yield module + name


@pytest.mark.parametrize("page", [page for page in PAGES if any(described(page))], ids=lambda page: page.stem)
def test_each_object_that_a_page_describes_is_in_the_code(page):
    broken = []
    for name in described(page):
        try:
            import_string(name)
        except ImportError:
            broken.append(name)
    assert broken == []


def test_no_anchor_is_there_twice():
    labels = [label.lower() for page in PAGES for label in LABEL.findall(text(page))]
    assert len(labels) == len(set(labels))


def test_the_files_that_the_readme_names_exist():
    named = set(FILE.findall(text(ROOT / "README.rst")))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_each_page_is_in_the_index():
    index = text(DOCS / "index.rst")
    listed = re.findall(r"^    ([\w/*]+)$", index, re.M)
    found = {page for name in listed for page in DOCS.glob(f"{name}.rst")}
    own = {page for page in PAGES if page.is_relative_to(DOCS) and not page.stem.endswith("_figures")}
    assert own - found - {DOCS / "index.rst"} == set()


def test_a_broken_link_is_noticed(tmp_path):
    page = tmp_path / "page.rst"
    page.write_text("See :doc:`here <nowhere>` and :ref:`cmd-why`.\n")
    assert list(links(page)) == [("doc", "nowhere"), ("ref", "cmd-why")]
    assert not document(page, "nowhere").exists()
