"""One task of every kind; the demo, its page and the acceptance tests all use these."""

import time

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils import timezone

from autotask.models import LiveTask
from autotask.task import State
from autotask.tasks import TaskContext, cron_task, delayed_task, periodic_task
from demo import sales
from demo.models import Note

#: Where parcels are packed.
TABLES = 2


@delayed_task(retries=2)
def send_welcome_mail(name: str, address: str) -> str:
    """Send a mail made from a template; the test project's mails are files."""
    body = render_to_string("demo/welcome_mail.txt", {"name": name, "today": timezone.localdate()})
    EmailMessage(subject=f"Welcome, {name}!", body=body, to=[address]).send()
    return f"mail sent to {address}"


@delayed_task(queue="reports")
def report_sales(month: int) -> dict[str, object]:
    """Work out a month's sales as a table of text, and return the sums."""
    orders = sales.orders_of(month)
    path = settings.DEMO_OUTPUT / "reports" / f"sales-{month:02}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sales.table(month, orders), encoding="utf-8")
    return {"orders": len(orders), "revenue": str(sales.revenue(orders)), "file": path.name}


@delayed_task(queue="reports", priority=-10)
def draw_sales() -> str:
    """Draw the year's sales as a picture; nobody waits for it, so its priority is low."""
    path = settings.DEMO_OUTPUT / "charts" / "sales.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sales.chart(), encoding="utf-8")
    return path.name


@delayed_task(queue="reports", email="boss@autotask.example", api=True)
def mail_sales() -> dict[str, str]:
    """Draw the year's sales; when it is done, the picture is mailed."""
    path = settings.DEMO_OUTPUT / "charts" / "sales-of-the-year.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(sales.chart(), encoding="utf-8")
    return {"result": "The sales of the year, as a picture.", "file_path": str(path)}


@delayed_task(retries=3)
def fetch_prices(supplier: str) -> str:
    """Fail twice, as if the supplier's server were away, and succeed on the third attempt."""
    topic = f"fetch_prices {supplier}"
    attempt = Note.objects.filter(topic=topic).count() + 1
    Note.write(topic, f"attempt {attempt}")
    if attempt < 3:
        raise ConnectionError(f"{supplier} does not answer")
    return f"prices of {supplier} fetched at the third attempt"


@delayed_task(retries=3, no_retry_on=ValueError)
def charge_card(order: int) -> None:
    """Fail for good: a retry would not make the card valid."""
    raise ValueError(f"the card for order {order} has expired")


@delayed_task(delay=3)
def remind(text: str) -> str:
    """Come back a little later."""
    return f"reminder: {text}"


@delayed_task
def take_note(topic: str, text: str) -> str:
    """Write one line into the database; this is enqueued in bulk."""
    Note.write(topic, text)
    return text


@delayed_task(takes_context=True)
def work_for(context: TaskContext, seconds: float, topic: str) -> str:
    """Take a while, report progress, and note its start and end."""
    Note.write(topic, "started")
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        context.progress(seconds - left, seconds)
        time.sleep(min(left, 0.05))  # in short steps, so that the task can be interrupted
    Note.write(topic, "finished")
    return f"worked for {seconds:g} s"


@delayed_task(concurrency=TABLES)
def pack_parcel(order: int) -> str:
    """Take half a second at one of two tables; other parcels wait until one is free."""
    time.sleep(0.5)
    taken = LiveTask.objects.filter(name="demo.tasks.pack_parcel", state=State.RUNNING).count()
    if taken > TABLES:
        raise RuntimeError(f"{taken} parcels on {TABLES} tables")
    return f"order {order} packed, {taken} of {TABLES} tables in use"


@delayed_task(unique=True)
def count_stock(product: str) -> str:
    """Take a second; another call for the same product meanwhile makes no second task."""
    time.sleep(1)
    return f"42 {product} left"


@periodic_task(seconds=10, start_now=True)
def count_mails() -> str:
    """Count the sent mails every ten seconds."""
    return f"{len(list((settings.DEMO_OUTPUT / 'mail').glob('*.log')))} mails in the outbox"


@cron_task(crontab="* * * * *")
def ring_the_minute() -> str:
    """Tell the time every full minute."""
    return f"{timezone.localtime():%H:%M}"
