"""The grain of the code: no function, class or module is too large to be taken in at once."""

import ast
from collections.abc import Iterator

import pytest

from tests.documents import ROOT

PACKAGE = ROOT / "autotask"
MODULES = {path: path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.parent.name != "migrations"}


@pytest.fixture(scope="module")
def nodes() -> list[tuple[str, ast.AST]]:
    """The functions and classes of the package, each with the name of its module."""
    found = ((path, node) for path, source in MODULES.items() for node in ast.walk(ast.parse(source)))
    return [
        (f"{path.relative_to(PACKAGE)}: {node.name}", node)
        for path, node in found
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    ]


def lines(function: ast.AST) -> int:
    """Return the number of lines of the body of a function, without its docstring."""
    first, *others = function.body
    if others and isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        first = others[0]
    return function.body[-1].end_lineno - first.lineno + 1


def attributes(owner: ast.AST) -> Iterator[str]:
    """Yield the names of the attributes that the methods of a class assign to its instance."""
    for node in ast.walk(owner):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and getattr(node.value, "id", "") == "self"
        ):
            yield node.attr


def test_no_module_has_more_than_400_lines():
    assert [path.name for path, source in MODULES.items() if len(source.splitlines()) > 400] == []


def test_no_function_has_more_than_40_lines(nodes):
    assert [name for name, node in nodes if not isinstance(node, ast.ClassDef) and lines(node) > 40] == []


def test_no_object_has_more_than_20_attributes(nodes):
    assert [name for name, node in nodes if isinstance(node, ast.ClassDef) and len(set(attributes(node))) > 20] == []
