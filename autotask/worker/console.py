"""Whether the lines that tasks log themselves are shown on the console of the worker."""

import logging

from autotask.task_log import LOGGER, PREFIX


class NotOfTasks(logging.Filter):
    """Leaves out the lines that tasks log themselves."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line does not come from a task."""
        return not record.name.startswith(PREFIX)


_not_of_tasks = NotOfTasks()


def show_lines_of_tasks(shown: bool) -> None:
    """Show them where the project's handlers write to stdout or stderr, or leave them out there; other handlers get them."""
    for name in (LOGGER, "autotask", None):
        for handler in logging.getLogger(name).handlers:
            if not shown and _is_console(handler):
                handler.addFilter(_not_of_tasks)  # which does nothing the second time
            else:
                handler.removeFilter(_not_of_tasks)


def _is_console(handler: logging.Handler) -> bool:
    try:
        return isinstance(handler, logging.StreamHandler) and handler.stream.fileno() in (1, 2)
    except Exception:  # a stream without a file, or closed
        return False
