"""Translates the options of other task queues, which people try first, into those of autotask."""

from collections.abc import Callable

#: Options by the names that they have with other task queues, and that are not like those here.
OPTIONS = {
    "autoretry_for": "retry_on",
    "bind": "takes_context",
    "context": "takes_context",
    "countdown": "delay",
    "default_retry_delay": "backoff",
    "dont_autoretry_for": "no_retry_on",
    "eta": "run_after",
    "expiration_time": "expires",
    "failure_ttl": "ttl",
    "job_timeout": "timeout",
    "max_instances": "concurrency",
    "max_retries": "retries",
    "misfire_grace_time": "misfire",
    "rate_limit": "rate",
    "result_expires": "ttl",
    "result_ttl": "ttl",
    "retry": "retries",
    "retry_backoff": "backoff",
    "retry_delay": "backoff",
    "soft_time_limit": "timeout",
    "time_limit": "timeout",
    "timezone": "tz",
}

#: By the method that people know; the braces stand for the name of the task.
_WORDS = {
    "delay": "{}(…)",
    "apply_async": "{0}(…), or {0}.using(delay=60, queue=…)(…) with options",
    "apply_async_on_commit": "{}(…). The task exists if and only if your transaction commits",
    "delay_on_commit": "{}(…). The task exists if and only if your transaction commits",
    "defer": "{}(…)",
    "send": "{}(…)",
    "send_with_options": "{}.using(delay=60, queue=…)(…)",
    "apply": "{}.call(…), which runs the function here and now",
    "call_local": "{}.call(…), which runs the function here and now",
    "now": "{}.call(…), which runs the function here and now",
    "map": "{}.enqueue_many([(1,), (2,)]), with a tuple for each call",
    "starmap": "{}.enqueue_many([(1, 2), (3, 4)]), with a tuple for each call",
    "schedule": "{}.using(delay=60)(…), or run_after= with a datetime",
    "retry": "raise Retry(delay=60) inside the function, and handle.retry() outside",
}


def missing(task: object, attribute: str, advice: Callable[[str, str], str]) -> AttributeError:
    """Return the exception for an attribute that a task does not have, with what to write in its place, if that is known."""
    # It may be asked for before the task has a name, as when it is copied.
    name = str(vars(task).get("name", "")).rpartition(".")[2]
    text = f"{type(task).__name__!r} object has no attribute {attribute!r}"
    words = advice(attribute, name) if attribute in _WORDS and name else ""
    return AttributeError(f"{text}.{words}" if words else text, name=attribute, obj=task)


def of_calls(attribute: str, name: str) -> str:
    """Return the hint for a delayed task."""
    return f" Here you write {_WORDS[attribute].format(name)}."


def of_schedules(attribute: str, name: str) -> str:
    """Return the hint for a periodic or cron task."""
    return f" Its schedule runs it; {name}.run_now() does so now."
