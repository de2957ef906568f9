"""The example program of HardWorker, with decorator and class of autotask in place of its own."""

import random
import time

from autotask.class_tasks import BaseTask
from autotask.tasks import delayed_task


@delayed_task(name="hardworker.task_1", api=True)
def task1(params):
    time.sleep(params.get("time", 10))
    return random.randrange(0, 120)


@delayed_task(
    name="hardworker.task_2",
    api=True,
    concurrency=2,
    json_schema={"type": "object", "properties": {"n": {"type": "number"}}},
)
def task_2(params):
    def generate_fib(n):
        return 1 if n in (0, 1) else generate_fib(n - 1) + generate_fib(n - 2)

    return generate_fib(params["n"])


class MyTask(BaseTask):
    name = "hardworker.task_3"
    json_schema = {}
    api = True

    def run(self, params):
        def generate_fac(n):
            return 1 if n == 0 else n * generate_fac(n - 1)

        with open(params["path"], "w", encoding="utf-8") as file:
            file.write(f"Факториал {params['n']} = {generate_fac(params['n'])}")
        return {"result": "Факториал посчитан", "file_path": params["path"]}
