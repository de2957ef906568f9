"""Task classes for each of the pools, whose hooks write lines to a file."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from autotask.class_tasks import BaseTask
from tests.integration.worker.stubborn import mark


class Hooked(BaseTask):
    """The base of all, with hooks."""

    retries = 1
    backoff = 0.05

    def before_start(self):
        self.path = self.arguments["path"]
        self.seen = []
        mark(self.path, f"before {self.context.attempt}")
        if self.arguments["what"] == "fail before":
            raise KeyError("before")

    def act(self, what):
        self.seen.append(what)
        if what == "fail" or (what == "fail once" and self.context.attempt == 1):
            raise KeyError("gone")
        if what == "nap":
            for _ in range(6000):
                time.sleep(0.01)  # Only between two steps of Python can a thread be interrupted.
        return {"what": what, "id": str(self.context.id)}

    def on_success(self, result):
        mark(self.path, f"success {result['what']} {self.seen}")
        if result["what"] == "fail after":
            raise KeyError("after")

    def on_failure(self, error):
        mark(self.arguments["path"], f"failure {type(error).__name__}")

    def on_retry(self, error):
        mark(self.path, f"retry {error!r} {self.seen}")


class Plain(Hooked):
    abstract = True

    def run(self, path, what):
        return self.act(what)


class InThread(Plain):
    pass


class InProcess(Plain):
    executor = "process"


class InExecutor(Plain):
    executor = "of_classes"


class OnLoop(Hooked):
    async def before_start(self):
        super().before_start()

    async def run(self, path, what):
        return self.act(what)


class OnLoopWithPlainHook(Hooked):
    async def run(self, path, what):
        return self.act(what)


class Atomic(Plain):
    atomic = True


class Forgetful(BaseTask):
    """Its hook needs no attempt that has begun, and no arguments."""

    def run(self, path):
        Path(path).write_text("ran")

    def on_failure(self, error):
        mark(self.context.name + ".lines", f"failure {self.arguments}")


def threads() -> ThreadPoolExecutor:
    """Return an executor; see AUTOTASK_EXECUTORS."""
    return ThreadPoolExecutor(2)


ALL = (InThread, InProcess, InExecutor, OnLoop, OnLoopWithPlainHook, Atomic)
