"""Text from others on our lines, which cannot forge log lines, drive a terminal or grow without end; standard library only."""

#: The first characters of a line that continues the one before.
INDENT = "  "


def without_controls(text: str) -> str:
    """Return a text with a space for each character that cannot be printed."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def one_line(text: str, longest: int = 500) -> str:
    """Return a text without control characters, and not too long."""
    return without_controls(text[:longest]) + ("…" if len(text) > longest else "")


def indented(text: str) -> str:
    """Return a text without control characters; all lines after the first one are indented."""
    return f"\n{INDENT}".join(without_controls(line.expandtabs()) for line in text.splitlines())


def describe(error: BaseException) -> str:
    """Return the class of an exception and its text, even if its ``__str__`` raises."""
    try:
        text = str(error)
    except BaseException as second:  # noqa: B036 - a __str__ may raise anything, and must not end the worker
        text = f"(its text cannot be shown: __str__ raised {type(second).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
