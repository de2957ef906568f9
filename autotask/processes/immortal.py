"""Objects whose references are not counted, so that forks share their memory; CPython 3.12 and newer, standard library only.

CPython counts the references to an object in the object itself. Each call of a function in a fork so copies the page of the
function, and those of all that it uses, although nothing there changes. Since Python 3.12 there are objects without a count
(PEP 683), which are never freed.
"""

import ctypes
import gc
import sys
import sysconfig
import types

#: The count of an immortal object: what Python 3.12 to 3.14 leave unchanged, in 32 bits.
_IMMORTAL = 0xFFFF_FFFF

#: The versions that are known to do so.
_FROM, _BEFORE = (3, 12), (3, 15)

#: The types of the objects of a program, besides classes. None of them can be closed, or does anything when it is freed.
_KINDS = frozenset(
    {
        bytes,
        classmethod,
        frozenset,
        property,
        staticmethod,
        str,
        tuple,
        types.BuiltinFunctionType,
        types.CellType,
        types.CodeType,
        types.FunctionType,
        types.GetSetDescriptorType,
        types.MemberDescriptorType,
        types.MethodDescriptorType,
        types.ModuleType,
        types.WrapperDescriptorType,
    }
)


def make_program_immortal() -> None:
    """Make functions, classes, modules and constants of this process immortal, where Python has such objects."""
    if not _can_be():
        return
    # Those that are frozen already are not listed.
    for found in gc.get_objects():
        _make_immortal(found)
        for part in gc.get_referents(found):
            # Whatever else it refers to is in the list, too.
            if not gc.is_tracked(part):
                _make_immortal(part)


def _make_immortal(found: object) -> None:
    kind = type(found)
    if kind not in _KINDS and not issubclass(kind, type):
        return
    count = _count(found)
    if count.value == _IMMORTAL:
        return
    count.value = _IMMORTAL
    if isinstance(found, types.CodeType):
        _make_parts_immortal(found)
    elif isinstance(found, tuple):
        for part in found:
            _make_immortal(part)


def _make_parts_immortal(code: types.CodeType) -> None:
    """Make immortal what the garbage collector, which does not know code, cannot list."""
    names = (*code.co_names, *code.co_varnames, *code.co_cellvars, *code.co_freevars)
    for part in (code.co_consts, code.co_filename, code.co_name, code.co_qualname, *names):
        _make_immortal(part)


def _can_be() -> bool:
    """Whether counts are where they are expected, and this interpreter leaves that of an immortal object alone."""
    if sys.implementation.name != "cpython" or not _FROM <= sys.version_info[:2] < _BEFORE or sys.maxsize < 2**32:
        return False
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return False
    trial = object()
    count = _count(trial)
    before = count.value
    references = [trial] * 3
    if count.value != before + len(references):
        return False
    count.value = _IMMORTAL
    references.clear()
    return count.value == _IMMORTAL


def _count(counted: object) -> ctypes.c_uint32:
    return ctypes.c_uint32.from_address(id(counted))
