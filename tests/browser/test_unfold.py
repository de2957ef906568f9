"""The pages with django-unfold, which has templates and styles of its own: plainer, but whole."""

import pytest
from django.contrib.auth.models import User

from tests.browser.test_pages import LIST, TOO_WIDE, addresses, rows, visit
from tests.integration.admin.pages import client_of

__all__ = ["rows"]

pytestmark = pytest.mark.django_db(transaction=True)


def test_every_page_is_there(rows):
    client = client_of(User.objects.create_superuser("root"))
    assert {address: status for address in addresses() if (status := client.get(address).status_code) != 200} == {}


def test_pages_fit_and_have_tabs_buttons_and_tables(rows, browser, live_server):
    with visit(browser, live_server) as (page, complaints):
        for address in (
            f"{LIST}/dashboard/",
            f"{LIST}/taskrecord/",
            f"{LIST}/taskrecord/?state=error",
            f"{LIST}/worker/",
        ):
            page.goto(live_server.url + address)
            assert page.locator(".autotask-tabs a").count() >= 6
            assert page.evaluate(TOO_WIDE) == 0
        page.goto(f"{live_server.url}{LIST}/dashboard/")
        assert page.locator(".autotask-table td").first.evaluate("cell => getComputedStyle(cell).paddingLeft") == "8px"
        page.goto(live_server.url + next(address for address in addresses() if address.endswith("/change/")))
        button = page.locator(".autotask-buttons .button").first
        assert button.evaluate("button => getComputedStyle(button).outlineStyle") == "solid"
        assert complaints == []
