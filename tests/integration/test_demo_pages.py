"""The pages of the demo, as a browser sees them."""

import os

import pytest
from django.test import Client

from autotask.acts import keys
from autotask.models import TaskRecord
from autotask.testing import captured_tasks
from demo.samples import ROWS, SAMPLES

HTML = {"accept": "text/html"}

#: What the page of a task shows when it has finished.
SHOWS = {
    "send_welcome_mail": "Welcome, Anna!",
    "report_sales": "<pre>",
    "draw_sales": 'src="/charts/sales.svg"',
    "mail_sales": 'src="/charts/sales-of-the-year.svg"',
    "charge_card": "the card for order 4711 has expired",
    "take_note": "a button was pressed",
    "pack_parcel": "order 4711 packed, 1 of 2 tables in use",
}


@pytest.fixture(autouse=True)
def output(settings, tmp_path):
    """Tasks write their files here, and mails are files."""
    settings.DEMO_OUTPUT = tmp_path
    backend = "django.core.mail.backends.filebased.EmailBackend"
    if hasattr(settings, "MAILERS"):
        settings.MAILERS = {"default": {"BACKEND": backend, "OPTIONS": {"file_path": tmp_path / "mail"}}}
    else:
        settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = backend, tmp_path / "mail"


@pytest.mark.django_db
@pytest.mark.parametrize("name", [*SAMPLES, *ROWS])
def test_a_button_leads_to_the_page_of_its_task(name):
    client = Client(headers=HTML)
    page = client.post(f"/enqueue/{name}/", follow=True)
    assert page.status_code == 200
    assert {"inspect_machine": "inspection"}.get(name, name) in page.content.decode().lower()
    assert "data-autotask-progress" in page.content.decode()
    listed = client.get("/").content.decode()
    assert page.request["PATH_INFO"] in listed


@pytest.mark.django_db
@pytest.mark.parametrize("name", SHOWS)
def test_the_page_of_a_finished_task_shows_what_it_has_made(name):
    client = Client(headers=HTML)
    with captured_tasks() as tasks:
        address = client.post(f"/enqueue/{name}/").url
        tasks.run_pending()
    page = client.get(address).content.decode()
    assert SHOWS[name] in page
    if "src=" in SHOWS[name]:
        picture = client.get(SHOWS[name].split('"')[1])
        assert (picture.status_code, picture.headers["Content-Type"]) == (200, "image/svg+xml")
        assert b"<svg" in picture.getvalue()
        picture.close()


@pytest.mark.django_db
def test_a_mail_belongs_to_a_task_that_has_begun_since_the_last_tick_of_the_kernel(tmp_path):
    with captured_tasks() as tasks:
        address = Client().post("/enqueue/send_welcome_mail/").url
        tasks.run_pending()
    (mail,) = (tmp_path / "mail").iterdir()
    tick_before = TaskRecord.objects.get().started_at.timestamp() - 0.004  # as with CONFIG_HZ=250
    os.utime(mail, (tick_before, tick_before))
    assert "Welcome, Anna!" in Client(headers=HTML).get(address).content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/charts/missing.svg", "/charts/..%2Fmail", "/enqueue/nothing/"])
def test_what_is_not_there_is_not_found(address):
    client = Client(headers=HTML)
    answer = client.post(address) if "enqueue" in address else client.get(address)
    assert answer.status_code == 404


@pytest.mark.django_db
def test_a_task_whose_result_is_gone_has_a_page_that_says_so():
    page = Client(headers=HTML).get("/tasks/00000000-0000-7000-8000-000000000000/")
    assert (page.status_code, "No longer kept" in page.content.decode()) == (404, True)


@pytest.mark.django_db
def test_the_report_is_posted_to_the_api_mailed_with_its_picture_and_seen_in_the_admin(admin_client, tmp_path):
    headers = {"authorization": f"Bearer {keys.create('reports', ['submit', 'read']).secret}"}
    client = Client(headers=headers)
    with captured_tasks() as tasks:
        task = client.post("/api/", {"name": "demo.tasks.mail_sales"}, content_type="application/json").json()
        tasks.run_pending()
    assert client.get(f"/api/{task['id']}/").json()["status"] == "done"
    [mail] = tmp_path.glob("mail/*.log")
    assert 'filename="sales-of-the-year.svg"' in mail.read_text()
    page = admin_client.get(f"/admin/autotask/taskrecord/{task['id']}/change/").content.decode()
    assert "boss@autotask.example" in page
