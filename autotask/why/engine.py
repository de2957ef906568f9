"""Decide why a task does not run: pure, from what was read and from the settings."""

import uuid
from datetime import UTC

from django.utils.translation import gettext as _

from autotask.store.read import StoredTask
from autotask.store.situation import Situation
from autotask.task import State, enqueued_at
from autotask.texts import advice
from autotask.texts.localized import in_words
from autotask.why import states, turn, workers
from autotask.why.codes import Code
from autotask.why.explanation import Explanation
from autotask.why.finding import Finding, explanation
from autotask.why.site import Site

#: Seconds for which results are kept at least, by default: an id that is older was probably pruned.
_SOON = 300.0


def decide(situation: Situation, site: Site) -> Explanation:
    """Return the explanation of one situation."""
    task = situation.task
    if task is None:
        return explanation(situation, _gone(situation, site))
    if task.state.ended:
        return explanation(situation, states.ended(task))
    if task.state is State.RUNNING:
        return explanation(situation, states.running(situation, task, site))
    return _waiting(situation, task, site)


def unmigrated(id: uuid.UUID, site: Site) -> Explanation:
    """Return the explanation where the tables are missing."""
    text = _("the tables of autotask are not in the database %(name)s, or lack columns") % {"name": repr(site.database)}
    finding = Finding(code=Code.UNMIGRATED, text=text, advice=advice.migrate(site.database))
    return explanation(Situation(id=id, now=site.clock), finding)


def uncommitted(id: uuid.UUID, site: Site) -> Explanation:
    """Return the explanation of a call that is stored after the commit of another database."""
    text = _(
        "its call is stored when the transactions commit in which it was made, on other databases; they have not yet"
    )
    return explanation(Situation(id=id, now=site.clock), Finding(code=Code.UNCOMMITTED, text=text))


def _waiting(situation: Situation, task: StoredTask, site: Site) -> Explanation:
    found = [*turn.findings(situation, task, site), *workers.findings(situation, task, site)]
    first = next((each for each in found if not each.passed), None)
    return explanation(situation, first or workers.ready(situation, task, site), tuple(each.check for each in found))


def _gone(situation: Situation, site: Site) -> Finding:
    text = _(
        "it is not in the database: its result was pruned after its time to live, or the transaction that made the call was "
        "rolled back or is not committed yet"
    )
    called = _called(situation)
    return Finding(
        code=Code.ROLLED_BACK_OR_PRUNED,
        text=text,
        sentence=_("It is not in the database %(name)s") % {"name": repr(site.database)} + called,
        advice=_("Look for its name:") + " " + advice.manage("list --name NAME"),
    )


def _called(situation: Situation) -> str:
    if situation.id.version != 7:
        return ". " + _("Its id was not made by autotask.")
    age = (situation.now - enqueued_at(situation.id).astimezone(UTC)).total_seconds()
    likely = (
        _(
            "its transaction was probably rolled back or is not committed yet; or its result was pruned after a short time to "
            "live"
        )
        if age < _SOON
        else _("its result was probably pruned after its time to live; or its transaction was rolled back")
    )
    return ". " + _("It was called %(time)s ago: %(likely)s.") % {"time": in_words(age), "likely": likely}
