"""The list of tasks, as fast with a million rows as with ten."""

import re
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.contrib.admin.views.main import ChangeList
from django.core import paginator
from django.core.exceptions import EmptyResultSet
from django.db.models import QuerySet
from django.db.models.functions import Left
from django.http import HttpRequest
from django.utils.functional import cached_property

from autotask import registry
from autotask.admin.filters import StateFilter, SubjectFilter, UnindexedFilter, in_state
from autotask.conf import settings
from autotask.models import TaskRecord, Worker
from autotask.store import glance, tally
from autotask.store.connection import current
from autotask.task import State

if TYPE_CHECKING:
    Paginator = paginator.Paginator[Any]
else:
    Paginator = paginator.Paginator  # cannot be subscripted at run time

#: The newest tasks, which filters without an index search (those of Oban's dashboard do the same). No page lies further
#: back.
WINDOW = 100_000

#: Rows are counted up to this number.
COUNTED = 10_000

#: With this many digits, all ids are of about a minute: their first 48 bits are milliseconds.
_NARROW = 8

_HEXADECIMAL = re.compile(r"[0-9a-f]{1,32}")


class TaskPaginator(Paginator):
    """Pages that do not count the table: the number of all rows is estimated, filtered ones are counted up to ``COUNTED``.

    :ivar estimated: whether the count is an estimate.
    :ivar more: whether there are more rows than counted.
    :ivar state: the state that all of them have; None: they may be in any.
    """

    estimated = False
    more = False
    state: State | None = None

    @cached_property
    def count(self) -> int:
        """The number of rows, estimated or up to ``COUNTED``."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]  # the admin passes nothing else
        if not rows.query.where and (estimate := tally.estimated_count(current())) > COUNTED:
            self.estimated = True
            return estimate
        counted = self._counted(rows)
        self.more = counted > COUNTED
        return min(counted, COUNTED)

    def _counted(self, rows: QuerySet[Any]) -> int:
        if (state := self.state) in (State.ERROR, State.CANCELLED) and _are_all_in(state, rows):
            return glance.count_ended(current(), state, COUNTED + 1)
        # Ready tasks have no index of their own among the others: without an order, the database would read the table.
        order = ["-pk"] if self.state is State.READY else []
        return rows.order_by(*order).values("pk")[: COUNTED + 1].count()

    @cached_property
    def num_pages(self) -> int:
        """The number of pages that can be opened; to later ones the database would have to count row by row."""
        return min(super().num_pages, max(1, WINDOW // self.per_page))


def _are_all_in(state: State, rows: QuerySet[Any]) -> bool:
    """Whether these are all tasks in a state: no other filter, no search, and no class of the site leaves any out."""
    these, all_of_them = (
        found.order_by().values("pk").query.get_compiler(rows.db)
        for found in (rows, TaskRecord.objects.filter(in_state(state)))
    )
    try:
        return bool(these.as_sql() == all_of_them.as_sql())
    except EmptyResultSet:  # There are none, as Django knows without asking the database.
        return False


class TaskList(ChangeList):
    """One page of the list."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the rows that match filters and search, without all that the list does not show, which may be long."""
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        if self._looks_through():
            rows = self._newest(rows)
        page: QuerySet[Any] = rows.defer("error_message", "flow", "metadata").annotate(
            error_start=Left("error_message", 200)
        )
        return page

    def _looks_through(self) -> bool:
        # Without an index, the database may have to look at all rows to find the few that match.
        digits = id_digits(self.query)
        by_subject = any(isinstance(choice, SubjectFilter) and choice.value() for choice in self.filter_specs)
        if len(digits) >= _NARROW or by_subject:
            return False
        by_name = bool(self.query.strip()) and not digits
        chosen = any(isinstance(choice, UnindexedFilter) and choice.value() for choice in self.filter_specs)
        return by_name or self._state is State.DONE or chosen

    def _newest(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        candidates = self.root_queryset
        # States other than DONE have an index, and windows of their own: however old a running task is, its state's window has it.
        if self._state not in (None, State.DONE):
            candidates = candidates.filter(in_state(self._state))
        edge = candidates.order_by("-id").values_list("id", flat=True)[WINDOW : WINDOW + 1]
        return rows.filter(id__gt=edge[0]) if edge else rows

    @property
    def _state(self) -> State | None:
        return next((choice.state() for choice in self.filter_specs if isinstance(choice, StateFilter)), None)


def id_digits(text: str) -> str:
    """Return the hexadecimal digits of a text that begins an id and is not the name of a task; "" otherwise."""
    digits = text.strip().lower().replace("-", "")
    is_name = any(definition.name == text.strip() for definition in registry.definitions())
    return digits if _HEXADECIMAL.fullmatch(digits) and not is_name else ""


def search(rows: QuerySet[Any], text: str) -> QuerySet[Any]:
    """Keep the tasks whose id begins with the text, or whose name it is."""
    if digits := id_digits(text):
        return rows.filter(id__range=(uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))))
    return rows.filter(name=text.strip()) if text.strip() else rows


def attach_workers(records: Sequence[TaskRecord]) -> None:
    """Look up the workers of tasks, for :func:`worker_of`."""
    ids = {record.worker_id for record in records if record.worker_id}
    workers = Worker.objects.using(settings.DATABASE).in_bulk(list(ids)) if ids else {}
    for record in records:
        vars(record)["worker"] = workers.get(record.worker_id)


def worker_of(record: TaskRecord) -> Worker | None:
    """Return the worker of a task, if it is still registered and was looked up."""
    worker: Worker | None = vars(record).get("worker")
    return worker
