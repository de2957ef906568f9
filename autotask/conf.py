"""Every AUTOTASK_* setting with type, default and meaning, read live."""

from collections.abc import Iterator
from typing import Any

from autotask.alert_rules import Rule
from autotask.flow.limits import MOST_SLOTS
from autotask.options import SHORTEST_TIMEOUT
from autotask.setting import KnownElsewhere, Setting
from autotask.setting_types import (
    ALERTS,
    AUTO_OR_OFF,
    CHANNELS,
    EXECUTOR_SIZE,
    EXECUTORS,
    FLAG,
    FLAG_OR_RAISE,
    FOLDER,
    FUNCTION,
    HOSTS,
    LARGEST_PAYLOAD,
    LIMITS,
    LINE,
    LINE_OR_NONE,
    LOGS,
    MODULES,
    MODULES_OR_NONE,
    PATHS,
    PULL_KEY,
    QUEUES,
    REDIS,
    SECRET,
    SECRET_WORDS,
    SECRETS,
    TEXT,
    TEXTS,
    TOKENS,
    TYPE_LIMITS,
    WEBHOOK_SECRETS,
    LogOptions,
    SettingType,
    one_of,
    or_none,
    seconds,
    whole,
)


class Settings:
    """The settings of autotask. All are optional; durations are seconds or ``timedelta``."""

    IS_ACTIVE = Setting(FLAG, True, "False: a call of a decorated function runs it at once and returns its value.")
    IMMEDIATE: Setting[bool | str] = Setting(
        FLAG_OR_RAISE,
        False,
        "True: a call runs its task at once, in place, and returns the handle of the finished task; for tests. "
        '"raise": the same, but if the task ends in ERROR, the call raises the exception of the function.',
    )
    DATABASE = Setting(TEXT, "default", "Alias of the database that holds the tables of autotask.")
    TASKS_MODULE = Setting(TEXT, "tasks", "Module that is imported from each installed app to find its tasks.")
    MODULES: Setting[tuple[str, ...]] = Setting(
        MODULES, (), "More modules to import when Django starts, to find the tasks and schedules in them."
    )

    SETUP = Setting(
        FUNCTION,
        None,
        "Dotted path of a function that sets Django up in companions and child processes, if django.setup() is not enough: "
        "for example, it calls settings.configure(…). None: django.setup(), or configurations.setup() with "
        "django-configurations.",
    )

    COMPANION = Setting(
        one_of("process", "host", "off"),
        "process",
        '"process": each serving Django process has a worker process of its own. "host": one of those on a host works, the '
        'others stand by. "off": only dedicated workers run tasks.',
    )
    COMPANION_YIELDS = Setting(FLAG, False, "True: companions do not serve queues that a live dedicated worker serves.")
    QUEUES = Setting(QUEUES, (), "Queues that companions serve; empty: all.")
    THREADS = Setting(
        SettingType("a whole number from 1 to 1000", whole(1, 1000)), 4, "Threads of one worker that run tasks."
    )
    COROUTINES = Setting(
        SettingType("a whole number from 0 to 10000", whole(0, 10_000)),
        100,
        "Coroutines that one worker runs at a time; 0: it leaves them to other workers.",
    )
    PROCESSES = Setting(
        SettingType("a whole number from 0 to 1000", whole(0, 1000)),
        2,
        'Child processes of one worker for tasks with executor="process", each started when first needed; '
        "0: it leaves them to other workers.",
    )
    FORK: Setting[str | bool] = Setting(
        AUTO_OR_OFF,
        "auto",
        '"auto": on Linux, the workers of one command, and the companions of one server with several processes, are forks of a '
        "process that has loaded the project once, and share its memory, unless something in the project forbids forks; a line "
        "in the log says what. False: each worker loads the project itself.",
    )
    BACKGROUND_THREADS = Setting(
        SettingType("a whole number from 0 to 1000", whole(0, 1000)),
        32,
        "Threads of one worker for the background workers that it hosts: one for each, or as many as its concurrency; "
        "0: it leaves them to other workers.",
    )
    EXECUTORS = Setting(
        EXECUTORS,
        {},
        "Executors of concurrent.futures that tasks can name: for each name the dotted path of a function that returns "
        f"one, or a pair of that path and the number of tasks that it gets at a time (default: {EXECUTOR_SIZE}).",
    )
    SHUTDOWN_GRACE = Setting(
        SettingType("seconds, from 0 to a century", seconds(0)),
        10.0,
        "Seconds that running tasks get to finish when their worker has to stop.",
    )
    POLL_INTERVAL = Setting(
        SettingType("seconds, from 0.05 to a century", seconds(0.05)),
        5.0,
        "Seconds after which an idle worker looks for work even if nothing wakes it.",
    )
    HEARTBEAT = Setting(
        SettingType("seconds, from 0.1 to a century", seconds(0.1)),
        5.0,
        "Seconds between two heartbeats of a worker.",
    )
    LEASE = Setting(
        SettingType("seconds, from 0.5 to a century", seconds(0.5)),
        30.0,
        "Seconds without a heartbeat after which a worker's tasks are rescued. At least three heartbeats.",
    )

    CONTEXT = Setting(
        PATHS,
        (),
        "Dotted paths of carriers, each of which takes a value from a call to the run of its task, such as "
        '"autotask.carriers.Language", "autotask.carriers.TimeZone" and "autotask.carriers.TenantSchema".',
    )

    TELEMETRY: Setting[tuple[str, ...]] = Setting(
        PATHS,
        (),
        "Dotted paths of modules that observe calls and attempts, for traces and errors, such as "
        '"autotask.telemetry.otel" and "autotask.telemetry.sentry".',
    )

    TIMEOUT = Setting(
        SettingType("seconds, from 0.1 to a century", seconds(SHORTEST_TIMEOUT)),
        4 * 3600.0,
        "Seconds that one attempt may take, for tasks without a timeout of their own.",
    )
    RETRY_DELAY = Setting(
        SettingType("seconds, from 0 to a century", seconds(0)),
        2.0,
        "First delay of the exponential backoff between retries.",
    )
    MAX_CRASHES = Setting(
        SettingType("a whole number from 1 to 1000", whole(1, 1000)),
        3,
        "A task ends in ERROR when this many workers have died while they ran it.",
    )
    UNKNOWN_TASK_TIMEOUT = Setting(
        SettingType("seconds, from 0 to a century", seconds(0)),
        600.0,
        "Seconds for which an unknown task waits for a newer worker, before it ends in ERROR.",
    )
    TTL = Setting(
        SettingType("seconds, from 0 to a century", seconds(0)),
        300.0,
        "Seconds for which results are kept at least, for tasks without a ttl of their own.",
    )
    ERROR_TTL = Setting(
        SettingType("seconds, from 0 to a century", seconds(0)),
        7 * 86400.0,
        "Seconds for which tasks in ERROR are kept.",
    )
    HISTORY: Setting[float | None] = Setting(
        SettingType("seconds, from 0 to a century, or None", or_none(seconds(0))),
        86400.0,
        "Seconds for which the admin shows that a task ran, and how it ended, after its result was pruned; at most 100,000 tasks. "
        "None or 0: not at all.",
    )
    CLEAN_INTERVAL = Setting(
        SettingType("seconds, from 1 to a century", seconds(1)),
        60.0,
        "Seconds between two prunings of results past their time to live.",
    )

    STATISTICS = Setting(
        FLAG,
        True,
        "False: workers do not count what happens to tasks, so there is nothing for manage.py autotask stats and no counters "
        "for Prometheus.",
    )

    ALERTS: Setting[tuple[Rule, ...]] = Setting(
        ALERTS,
        (),
        "Rules by which incidents are announced by mail or webhook: a list of dicts such as "
        '{"when": "age", "seconds": 300}, {"when": "failures", "share": 0.2} and {"when": "workers"}.',
    )

    METRICS_TOKEN: Setting[tuple[str, ...]] = Setting(
        TOKENS,
        (),
        "Token with which Prometheus reads autotask.metrics.view, as a bearer token. A list of several, while a token is being "
        "replaced. None: nobody reads it.",
    )

    LOGS: Setting[LogOptions | None] = Setting(
        LOGS,
        None,
        'The lines that tasks log are kept in the database: {"level": "INFO", "max": 65536, "keep": 3 * 86400}, the lowest level, '
        "the bytes of one attempt, of which the last are kept, and the seconds for which they are kept. {} stands for just "
        "these. None: nothing is kept.",
    )

    LOG_DIR: Setting[str | None] = Setting(
        FOLDER,
        None,
        "Folder for a log file for each task, on the host of its worker; workers make it. Each site needs a folder of its own. "
        "None: no log files.",
    )
    LOG_SIZE = Setting(
        SettingType("a whole number from 1024 to 1 TiB", whole(1024, 2**40)),
        10 * 2**20,
        "Size in bytes that one log file of a task may reach.",
    )
    LOG_BACKUPS = Setting(
        SettingType("a whole number from 0 to 1000", whole(0, 1000)),
        10,
        "Earlier log files that are kept for each task.",
    )
    LOG_CONSOLE = Setting(
        FLAG,
        True,
        "False: workers do not show the lines that tasks log themselves on the console, that is, stdout and stderr. So does "
        "an environment variable DISABLE_STREAM_HANDLER that is not empty.",
    )

    LIMITS: Setting[dict[str, int]] = Setting(
        LIMITS,
        {},
        "Limits by name, each the number of tasks that may run at a time: names that tasks have in their option concurrency, "
        '"queue:NAME" for all tasks of a queue, "*" for all tasks.',
    )
    MAX_COUNT: Setting[int | None] = Setting(
        SettingType(f"a whole number from 1 to {MOST_SLOTS}, or None", or_none(whole(1, MOST_SLOTS))),
        None,
        'Tasks that may run at a time on the whole site; None: as many as the workers can. The same as "*" in '
        "AUTOTASK_LIMITS.",
    )
    MAX_TYPE_COUNT: Setting[dict[str, int]] = Setting(
        TYPE_LIMITS, {}, "By the name of a task: how many tasks of that name may run at a time."
    )

    REMOTE_CHANNELS: Setting[tuple[str, ...]] = Setting(
        CHANNELS, (), "Channels of model tasks whose steps only a client from outside starts."
    )
    MAIL_SUBJECT = Setting(LINE, "Your task finished", "Subject of the mail about the end of a task.")
    MAIL_FROM: Setting[str | None] = Setting(
        LINE_OR_NONE, None, "Sender of the mail about the end of a task; None: DEFAULT_FROM_EMAIL."
    )
    MAIL_MAX = Setting(
        SettingType("a whole number from 0 to 1 GiB (1073741824)", whole(0, 2**30)),
        10_000_000,
        "Largest file that is attached to the mail about the end of a task, in bytes.",
    )
    MAIL_TRIES = Setting(
        SettingType("a whole number from 1 to 1000", whole(1, 1000)),
        100,
        "Tries to send a mail, or to call a webhook, about the end of a task, before it is given up. With 100 these are "
        "about 16 hours.",
    )

    WEBHOOK_HOSTS: Setting[tuple[str, ...]] = Setting(
        HOSTS, (), "Hosts whose webhooks may be called, written as in AUTOTASK_FETCH_HOSTS; empty: none."
    )
    WEBHOOK_SECRET: Setting[tuple[bytes, ...]] = Setting(
        WEBHOOK_SECRETS,
        (),
        'Secret that signs the calls of webhooks that name no other one, such as "whsec_MfKQ9r8GKYqr…", with the base64 of '
        "random bytes. A list of several, while a secret is being replaced: each call is signed with all of them.",
    )
    WEBHOOK_TIMEOUT = Setting(
        SettingType("seconds, from 0.1 to 3600", seconds(0.1, 3600)), 15.0, "Seconds that a webhook may take to answer."
    )

    FETCH_HOSTS: Setting[tuple[str, ...]] = Setting(
        HOSTS,
        (),
        'Hosts that autotask may ask by HTTP: names, names with a port ("example.org:8443", or ":*" for all ports; by default '
        '80 and 443), "*.example.org" for all names below one, "*" for all names, and addresses; empty: none.',
    )
    FETCH_TIMEOUT = Setting(
        SettingType("seconds, from 0.1 to 3600", seconds(0.1, 3600)),
        60.0,
        "Seconds that a request to another site may take, with its redirects.",
    )
    FETCH_MAX_BYTES = Setting(
        SettingType("a whole number from 1024 to 1 GiB (1073741824)", whole(1024, 2**30)),
        10 * 2**20,
        "Largest size of an answer of another site, in bytes, after unpacking.",
    )

    API_TASKS = Setting(
        TEXTS,
        (),
        "Names of tasks that can be called and seen through the HTTP API, in addition to those with api=True.",
    )
    API_WAIT = Setting(
        SettingType("seconds, from 0 to a day", seconds(0, 86400)),
        30.0,
        "The longest time for which ?wait= of the HTTP API holds an answer; 0: it is answered at once.",
    )
    API_MAX_BODY = Setting(
        SettingType("a whole number from 1024 to 32 MiB (33554432)", whole(1024, LARGEST_PAYLOAD)),
        262_144,
        "Largest body of a request to the HTTP API, in bytes.",
    )
    API_RATE: Setting[int | None] = Setting(
        SettingType("a whole number from 1 to 1000000, or None", or_none(whole(1, 1_000_000))),
        None,
        "Requests to the HTTP API in a minute, from one caller to one process; None: any number.",
    )
    API_WRONG_KEYS = Setting(
        SettingType("a whole number from 1 to 1000000", whole(1, 1_000_000)),
        10,
        "Wrong keys in a minute, from one address to one process, after which its further wrong keys are not looked up.",
    )
    API_IDEMPOTENCY_TTL = Setting(
        SettingType("seconds, from 1 to a century", seconds(1)),
        86400.0,
        "Seconds for which an Idempotency-Key is remembered.",
    )

    PULL_KEY: Setting[str | bytes | None] = KnownElsewhere(
        PULL_KEY,
        None,
        "Key with which clients of django-simpletask2 pull tasks; API keys with the scope pull are accepted as well. "
        "None: only those.",
        other="DJANGO_SIMPLETASK2_ACLKEY",
    )
    PULL_TIMEOUT = KnownElsewhere(
        SettingType("seconds, from 0 to 3600", seconds(0, 3600)),
        5.0,
        "Seconds for which get_a_task waits for a task; less than the client waits for its answer (60).",
        other="DJANGO_SIMPLETASK2_TASK_PULL_TIMEOUT",
    )
    PULL_REDIS: Setting[str | None] = KnownElsewhere(
        REDIS,
        None,
        'Redis where workers put tasks for clients with "task-pull-engine: redis": an address such as "redis://host:6379/0", or '
        "the alias of one of CACHES that has such an address. None: nothing is put there.",
        other="DJANGO_SIMPLETASK2_REDIS_NAME",
    )
    PULL_WAIT = Setting(
        SettingType("seconds, from 0.1 to 3600", seconds(0.1, 3600)),
        50.0,
        "Seconds for which do_task waits for the end of a step; less than the client waits for its answer (60). A step that "
        "takes longer continues without the client.",
    )

    SIGNING_KEY = Setting(SECRET, None, "Key that signs arguments and results; None: SECRET_KEY.")
    SIGNING_KEY_FALLBACKS = Setting(
        SECRETS,
        (),
        "Older signing keys that are still accepted (as are SECRET_KEY_FALLBACKS while AUTOTASK_SIGNING_KEY is None).",
    )
    MAX_PAYLOAD = Setting(
        SettingType("a whole number from 1024 to 32 MiB (33554432)", whole(1024, LARGEST_PAYLOAD)),
        262_144,
        "Largest size of pickled arguments or results, in bytes; at most 32 MiB.",
    )
    PICKLE_ALLOWED = Setting(
        MODULES_OR_NONE,
        None,
        "Modules whose classes and functions may be unpickled, with all modules inside them, in addition to everyday values "
        "such as numbers, text, dates and model instances; None: all modules.",
    )
    MASKED_ARGUMENTS = Setting(
        TEXTS,
        SECRET_WORDS,
        "Arguments whose name contains one of these words are shown as ••• in the admin and on the command line. Case, -, _ "
        "and spaces make no difference. Words of up to four letters match a whole part of a name (pin in card_pin, cardPin or "
        "card-pin, but not in shipping), longer ones match anywhere.",
    )

    def __iter__(self) -> Iterator[Setting[Any]]:
        return (value for value in vars(type(self)).values() if isinstance(value, Setting))


settings = Settings()
