"""Log lines that foreign text cannot forge, and that cannot drive a terminal: what a task raises may say anything."""

import logging

#: The loggers of autotask. That of a task's own lines is left to the author of the task.
LOGGERS = tuple(f"autotask{child}" for child in ("", ".companion", ".embedded", ".task", ".testing", ".worker"))

#: What lines begin with that go on with the one before.
INDENT = "  "


def keep_lines() -> None:
    """Let no line of autotask's loggers, nor of the tracebacks below it, look like another one."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_keep_lines)  # which does nothing the second time


def without_controls(text: str) -> str:
    """Return a text with a space for each character that does not show."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def indented(text: str) -> str:
    """Return a text without control characters whose lines, but for the first one, are indented."""
    return f"\n{INDENT}".join(without_controls(line.expandtabs()) for line in text.splitlines())


def _keep_lines(record: logging.LogRecord) -> bool:
    try:
        message = record.getMessage()
    except Exception:  # of the arguments; the handlers report it
        return True
    if not message.isprintable():
        record.msg, record.args = indented(message), None
    # Formatters make the text of a traceback only where there is none yet.
    if record.exc_info and not record.exc_text:
        record.exc_text = INDENT + indented(logging.Formatter().formatException(record.exc_info))
    return True
