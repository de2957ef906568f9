"""How soon a client that waits gets a row: ``python -m benchmarks.pulling.site.latency URL SAMPLES``.

It prints the milliseconds from the return of the commit to the answer, as JSON.
"""

import json
import os
import random
import sys
import threading
import time
import urllib.request

import django


def sample(url: str, create: object) -> float:
    """Wait for a task in a thread, make a row meanwhile, and return the milliseconds."""
    answers: list[float] = []

    def ask() -> None:
        body = json.dumps({"aclkey": os.environ["PULL_KEY"], "channels": "default"}).encode()
        with urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=30) as answer:
            assert json.load(answer)["result"], "no task came"
        answers.append(time.perf_counter())

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(random.uniform(0.2, 0.9))  # somewhere between two looks
    create(name="x")  # type: ignore[operator]
    committed = time.perf_counter()
    thread.join()
    return (answers[0] - committed) * 1000


if __name__ == "__main__":
    django.setup()
    from benchmarks.pulling.site.models import HelloTask

    url = sys.argv[1] + "django-simpletask2/get_a_task"
    print(json.dumps([sample(url, HelloTask.objects.create) for _ in range(int(sys.argv[2]))]))
