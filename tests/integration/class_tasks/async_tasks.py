"""Tasks of which there is one for each id."""

import time
from datetime import timedelta

from autotask.class_tasks import AsyncTask
from autotask.workflows import step
from tests.gates import wait_at
from tests.integration.worker.stubborn import mark


class Forecast(AsyncTask):
    retries = 0

    def get_task_id(self, city, day="today", **how):
        return f"{city}-{day}"

    def main(self, city, day="today", *, path=None, fails=False, seconds=0.0, gate="", logger=None):
        logger.info("start of %s", city)
        if path:
            mark(path, f"{city} {day} {self.context.attempt}")
        if gate:
            wait_at(gate)
        time.sleep(seconds)
        if fails:
            raise ValueError("boom")
        return {"t": 21, "day": day}


class Daily(Forecast):
    rerun_time_limit = timedelta(days=1)


class Soon(Forecast):
    rerun_time_limit = 0.2


class Impatient(Forecast):
    task_timeout = 1


class InProcess(Forecast):
    executor = "process"


class OnLoop(AsyncTask):
    async def main(self, x, logger):
        logger.info("on the loop")
        return x


class NoLogger(AsyncTask):
    def main(self, x):
        return x


class Stepwise(AsyncTask):
    def get_task_id(self, path, fails):
        return "the one"

    def main(self, path, fails):
        step("first", mark, path, f"first of {fails}")
        if fails:
            raise ValueError("boom")


class CalledBack(AsyncTask):
    def get_task_id(self, path, what="go"):
        return f"id of {what}"

    def main(self, path, what="go"):
        if what == "fail":
            raise ValueError("boom")
        return what

    def callback(self, future, task_id):
        mark(self.arguments["path"], f"{task_id}: {future.exception() or future.result()!r}")
        if self.arguments["what"] == "fail later":
            raise KeyError("callback")


class Limited(AsyncTask):
    json_schema = {"properties": {"n": {"maximum": 9}}}
    max_worker = 1

    def get_task_id(self, n):
        return str(n)

    def main(self, n):
        return n
