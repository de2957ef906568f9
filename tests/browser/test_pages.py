"""Every page of the admin in a real browser: accessible, not too wide, without a complaint of the browser."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone
from playwright.sync_api import expect

from autotask.models import ApiKey, Attempt, Pause, Result, Schedule, Task, Worker
from autotask.store.connection import rows as rows_of
from autotask.task import State
from benchmarks import rows_of_dashboard
from tests.helpers import wait_until
from tests.integration.admin.pages import client_of

pytestmark = pytest.mark.django_db(transaction=True)

LIST = "/admin/autotask"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]

CHECK = """async rules => {
    const found = await axe.run(document, {runOnly: rules});
    return found.violations.map(each => each.id + ": " + each.nodes.map(node => node.html.slice(0, 200)).join(" | "));
}"""
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
TOO_WIDE = """[document.documentElement, ...document.querySelectorAll('.results, .autotask-columns > *')].map(
    each => each.scrollWidth - each.clientWidth).reduce((most, each) => Math.max(most, each), 0)"""


@pytest.fixture
def rows() -> None:
    """Tasks in all states, with workers, a schedule, a pause and an API key."""
    rows_of_dashboard.make(400, 1000)
    now = timezone.now()
    failed = Result.objects.filter(state=State.ERROR).latest("id")
    for number in (1, 2):
        Attempt.objects.create(
            task_id=failed.id,
            number=number,
            fence=number,
            state=State.RETRY,
            started_at=failed.created_at,
            ended_at=failed.created_at,
            error_message="TimeoutError: no answer within 30 s",
            traceback='Traceback (most recent call last):\n  File "shop.py", line 1, in sync\nTimeoutError',
        )
    Result.objects.filter(id=failed.id).update(schedule="shop.tasks.nightly", scheduled_for=failed.created_at)
    Schedule.objects.create(
        name="shop.tasks.nightly",
        task="shop.tasks.nightly",
        spec="s",
        registered_at=now,
        next_tick=now,
        declared_at=now,
    )
    Pause.objects.create(kind="queue", name="mail", paused_at=now, paused_by="ann", reason="the provider is down")
    ApiKey.objects.create(name="billing", digest="x", scopes=["*"], created_at=now)


def addresses() -> list[str]:
    tasks = [
        Task.objects.filter(state=state).first() for state in (State.SCHEDULED, State.READY, State.RUNNING, State.HELD)
    ]
    ended = [Result.objects.filter(state=state).latest("id") for state in (State.DONE, State.ERROR, State.CANCELLED)]
    one = [f"{LIST}/taskrecord/{task.id}/change/" for task in (*tasks, *ended) if task]
    return [
        *(f"{LIST}/dashboard/{page}" for page in ("", "?range=7d", "types/", "errors/")),
        *(
            f"{LIST}/taskrecord/{page}"
            for page in ("", "?state=error", "?state=done", "?state=running", "?q=nothing", "all/")
        ),
        f"{LIST}/taskrecord/all/?state=error",
        *one,
        one[0].replace("/change/", "/history/"),
        f"{LIST}/worker/",
        f"{LIST}/worker/{Worker.objects.first().pk}/change/",
        f"{LIST}/schedule/",
        f"{LIST}/schedule/shop.tasks.nightly/change/",
        f"{LIST}/pause/",
        f"{LIST}/pause/add/",
        f"{LIST}/apikey/",
        f"{LIST}/apikey/add/",
        f"{LIST}/backgroundworker/",
    ]


@contextmanager
def visit(browser, live_server, scheme: str = "light", width: int = 1280) -> Iterator[tuple]:
    """Open a tab in which a superuser is logged in; yield it and the list of what the browser complains about."""
    user = User.objects.filter(username="root").first() or User.objects.create_superuser("root")
    session = client_of(user).cookies["sessionid"].value
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
    page, complaints = context.new_page(), []
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # that of the site, which it need not have
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page, complaints
    finally:
        context.close()
        # A refresh may be under way, whose session would be in the way of the end of the database.
        wait_until(lambda: rows_of(connection, OTHERS) == [(0,)], what="the end of the requests")


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits(rows, browser, live_server, axe, scheme, width):
    problems = []
    with visit(browser, live_server, scheme, width) as (page, complaints):
        for address in addresses():
            response = page.goto(live_server.url + address)
            page.context.new_cdp_session(page).send("Runtime.evaluate", {"expression": axe})  # no policy is in its way
            found = [*complaints, *page.evaluate(CHECK, RULES)]
            if too_wide := page.evaluate(TOO_WIDE):
                found.append(f"{too_wide} px too wide")
            if response.status != 200:
                found.append(f"status {response.status}")
            problems += [f"{address}: {each}" for each in found]
            page.goto("about:blank")  # axe-core sets styles of its own, of which the browser tells late
            complaints.clear()
    assert problems == []


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("language", ["de", "es"])
def test_every_page_fits_with_the_words_of_other_languages_and_long_times(
    rows, browser, live_server, settings, language, width
):
    # Given
    settings.LANGUAGE_CODE = language
    before = timezone.now() - timedelta(days=12, hours=11)
    Task.objects.exclude(state=State.SCHEDULED).update(created_at=before, run_at=before)
    Task.objects.filter(state=State.READY).update(ready_at=before)
    Task.objects.filter(state=State.RUNNING).update(started_at=timezone.now() - timedelta(hours=11, minutes=55))
    Result.objects.filter(schedule__isnull=False).update(ended_at=before)
    Worker.objects.update(started_at=before, seen_at=timezone.now() - timedelta(minutes=58, seconds=58))

    # When, Then
    with visit(browser, live_server, width=width) as (page, complaints):
        found = []
        for address in addresses():
            page.goto(live_server.url + address)
            if too_wide := page.evaluate(TOO_WIDE):
                found.append(f"{address}: {too_wide} px too wide")
        assert page.locator("html").get_attribute("lang") == language
        assert [*found, *complaints] == []


@pytest.mark.parametrize(
    ("page_of", "column", "label"),
    [
        ("worker", "running", "running"),
        ("schedule", "next", "next"),
        ("pause", "why", "reason"),
        ("apikey", "made", "created"),
    ],
)
def test_the_cells_of_cards_have_labels(rows, browser, live_server, page_of, column, label):
    for width in (390, 1280):
        with visit(browser, live_server, width=width) as (page, _):
            page.goto(f"{live_server.url}{LIST}/{page_of}/")
            found = page.locator(f"#result_list .field-{column} .autotask-label").first
            assert found.text_content() == label
            assert found.is_visible() == (width == 390)


def test_long_names_break_at_dots_and_underscores(rows, browser, live_server):
    name = "warehouse.inventory.maintenance.tasks.recalculate_reorder_levels_of_all_products"
    Task.objects.filter(state=State.HELD).update(name=name)
    with visit(browser, live_server, width=390) as (page, _):
        page.goto(f"{live_server.url}{LIST}/taskrecord/?state=held")
        lines = page.locator("#result_list .autotask-name").first.evaluate(
            """name => {
                const lines = [], range = document.createRange();
                let top = null;
                for (const node of name.childNodes) for (let at = 0; at < node.length; at++) {
                    range.setStart(node, at);
                    range.setEnd(node, at + 1);
                    const here = range.getBoundingClientRect().top;
                    if (top === null || Math.abs(here - top) > 3) { lines.push(""); top = here; }
                    lines[lines.length - 1] += node.data[at];
                }
                return lines;
            }"""
        )
        assert len(lines) > 1 and "".join(lines) == name
        assert all(line[-1] in "._" for line in lines[:-1]), lines


def test_long_names_stay_in_their_cards(rows, browser, live_server):
    Pause.objects.update(
        kind="task", name="warehouse.inventory.maintenance.tasks.recalculate_reorder_levels_of_all_products"
    )
    with visit(browser, live_server, width=390) as (page, _):
        page.goto(f"{live_server.url}{LIST}/pause/")
        wide = page.locator("#result_list tbody a").first.evaluate("link => link.getBoundingClientRect().right")
        assert wide <= page.locator("#result_list tbody tr").first.evaluate("row => row.getBoundingClientRect().right")


def test_printed_pages_use_the_width_of_the_paper(rows, browser, live_server):
    with visit(browser, live_server, width=794) as (page, _):  # A4
        page.emulate_media(media="print")
        for address in (f"{LIST}/dashboard/", f"{LIST}/taskrecord/?state=error", addresses()[-1]):
            page.goto(live_server.url + address)
            assert page.evaluate(TOO_WIDE) == 0, address
            assert page.locator("#content").bounding_box()["width"] > 700, address
            assert (
                not page.locator("#changelist .actions, .autotask-tabs, #nav-sidebar").locator("visible=true").count()
            )


def test_a_page_refreshes_itself_while_nobody_is_busy_there(rows, browser, live_server):
    with visit(browser, live_server) as (page, complaints):
        # Given
        page.goto(f"{live_server.url}{LIST}/taskrecord/?state=held")
        shown = page.locator("#result_list tbody tr")
        before = shown.count()

        # When a task is gone
        Task.objects.filter(state=State.HELD).latest("id").delete()

        # Then
        expect(shown).to_have_count(before - 1, timeout=20_000)
        assert "updated at" in page.locator("#autotask-live-at").inner_text()

        # When a row is chosen, nothing changes, but the boxes of the other rows still count
        page.locator("input.action-select").first.check()
        assert "1 of" in page.locator(".action-counter").inner_text()
        Task.objects.filter(state=State.HELD).latest("id").delete()
        page.wait_for_timeout(6_000)
        assert shown.count() == before - 1
        assert complaints == []


def test_the_switch_is_remembered(rows, browser, live_server):
    with visit(browser, live_server) as (page, complaints):
        page.goto(f"{live_server.url}{LIST}/dashboard/")
        page.locator("#autotask-live-on").uncheck()
        page.goto(f"{live_server.url}{LIST}/worker/")
        assert not page.locator("#autotask-live-on").is_checked()
        assert complaints == []


def test_a_refresh_that_fails_is_said_and_tried_again(rows, browser, live_server):
    with visit(browser, live_server) as (page, _):
        page.goto(f"{live_server.url}{LIST}/dashboard/")
        page.context.clear_cookies()  # logged out elsewhere
        expect(page.locator("#autotask-live-at")).to_contain_text("Load it again", timeout=20_000)


def test_a_task_that_is_not_there_leads_back(browser, live_server):
    with visit(browser, live_server) as (page, _):
        page.goto(f"{live_server.url}{LIST}/taskrecord/{uuid.uuid4()}/change/")
        assert "doesn’t exist" in page.content()


def test_the_relative_times_of_the_demo_go_on_while_its_page_stays(browser, live_server):
    with visit(browser, live_server) as (page, complaints):
        page.goto(live_server.url)
        page.locator("form button").first.click()
        called = page.locator("dd time")
        first = called.inner_text()
        assert first.endswith(" s ago")
        expect(called).not_to_have_text(first, timeout=20_000)
        assert called.inner_text().endswith(" s ago")
        assert complaints == []
