"""System checks: each id has one cause, and nothing that is wrong keeps the others from being told."""

from types import FunctionType, SimpleNamespace

import django
import pytest
from django.core.checks import run_checks
from django.db import ConnectionHandler, connections

from autotask import checks, registry
from autotask.checks import about_pulling
from autotask.tasks import Limit, Webhook, cron_task, delayed_task, periodic_task
from tests.documents import ROOT


@pytest.fixture(autouse=True)
def _only_own_definitions(monkeypatch):
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(registry, "_duplicates", [])
    # They are made as if by a module that is imported while Django starts.
    monkeypatch.setattr(registry, "apps", SimpleNamespace(ready=False))


@pytest.fixture
def sqlite(monkeypatch):
    """The alias of a database that is not PostgreSQL."""
    other = ConnectionHandler({"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
    monkeypatch.setitem(connections.settings, "files", other.settings["default"])
    yield "files"
    if hasattr(connections._connections, "files"):
        del connections["files"]


def found() -> dict[str, str]:
    """Return the text and the hint of each message by its id."""
    messages = [*run_checks(tags=[checks.TAG]), *checks.notes()]
    return {message.id: f"{message.msg} {message.hint}" for message in messages}


def test_there_is_nothing_to_say_of_default_settings():
    assert found() == {}


def test_a_database_that_is_not_postgresql_is_e001(settings, sqlite):
    settings.AUTOTASK_DATABASE = sqlite
    messages = found()
    assert list(messages) == ["autotask.E001"]
    assert "'files'" in messages["autotask.E001"] and "sqlite3" in messages["autotask.E001"]


def test_an_unknown_alias_is_e002_with_the_one_that_was_meant(settings):
    settings.AUTOTASK_DATABASE = "defualt"
    messages = found()
    assert list(messages) == ["autotask.E002"]
    assert "Did you mean default?" in messages["autotask.E002"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOTASK_THREADS", 0),
        ("AUTOTASK_THREADS", "4"),
        ("AUTOTASK_LEASE", "30s"),
        ("AUTOTASK_LEASE", 10**400),
        ("AUTOTASK_HEARTBEAT", None),
        ("AUTOTASK_COMPANION", "on"),
        ("AUTOTASK_DATABASE", None),
        ("AUTOTASK_IS_ACTIVE", 1),
        ("AUTOTASK_TASKS_MODULE", 5),
        ("AUTOTASK_QUEUES", "mail"),
        ("AUTOTASK_PICKLE_ALLOWED", "shop"),
        ("AUTOTASK_PICKLE_ALLOWED", ["shop", 3]),
    ],
)
def test_a_value_that_cannot_be_is_e003_and_named(settings, name, value):
    setattr(settings, name, value)
    messages = found()
    assert list(messages) == ["autotask.E003"]
    assert name in messages["autotask.E003"]


def test_e003_shows_the_default_as_people_write_it(settings):
    settings.AUTOTASK_ERROR_TTL = "a week"
    assert found()["autotask.E003"].endswith(" Default: 604800.")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTOTASK_SIGNING_KEY", ["hush-hush"]),
        ("AUTOTASK_SIGNING_KEY_FALLBACKS", "hush-hush"),
    ],
)
def test_a_key_in_the_wrong_type_is_not_shown(settings, name, value):
    setattr(settings, name, value)
    messages = found()
    assert list(messages) == ["autotask.E003"]
    assert name in messages["autotask.E003"] and "hush" not in messages["autotask.E003"]


@pytest.mark.parametrize("value", ["", " ", "\t\n", "\u200b", "\ufeff ", b"", b" \n", b"\0"])
def test_a_blank_key_of_autotask_is_e003(settings, value):
    settings.AUTOTASK_SIGNING_KEY = value
    assert list(found()) == ["autotask.E003"]
    settings.AUTOTASK_SIGNING_KEY = None
    settings.AUTOTASK_SIGNING_KEY_FALLBACKS = ["older", value]
    assert list(found()) == ["autotask.E003"]


@pytest.mark.parametrize("value", ["", " ", "\t\n", "\u200b", b"", b" \n", None])
def test_a_blank_key_of_django_is_e012_and_named(settings, value):
    settings.SECRET_KEY_FALLBACKS = ["older", value]
    messages = found()
    assert list(messages) == ["autotask.E012"] and "SECRET_KEY_FALLBACKS[1]" in messages["autotask.E012"]

    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [], value
    messages = found()
    assert list(messages) == ["autotask.E012"] and "SECRET_KEY is empty" in messages["autotask.E012"]

    settings.AUTOTASK_SIGNING_KEY = "own"
    assert found() == {}


def test_several_wrong_values_are_all_told(settings):
    settings.AUTOTASK_THREADS = settings.AUTOTASK_LEASE = settings.AUTOTASK_DATABASE = object()
    wrong = [message for message in run_checks(tags=[checks.TAG]) if message.id == "autotask.E003"]
    assert len(wrong) == 3


def test_a_module_that_is_allowed_and_not_there_is_w004(settings):
    settings.AUTOTASK_PICKLE_ALLOWED = ["decimal", "django.utils", "tests.unit.test_checks"]
    assert found() == {}
    for wrong in ("shopp", "decimal.Decimal", "shopp.models"):
        settings.AUTOTASK_PICKLE_ALLOWED = ["decimal", wrong]
        messages = found()
        assert list(messages) == ["autotask.W004"] and repr(wrong) in messages["autotask.W004"]


def test_a_folder_for_log_files_that_cannot_be_written_is_w006(settings, tmp_path):
    settings.AUTOTASK_LOG_DIR = tmp_path / "logs"
    assert found() == {}
    (tmp_path / "logs").write_text("a file")
    messages = found()
    assert list(messages) == ["autotask.W006"] and str(tmp_path / "logs") in messages["autotask.W006"]


@pytest.mark.parametrize("value", ["logs", "", 7, True])
def test_a_folder_for_log_files_that_is_not_an_absolute_path_is_e003(settings, value):
    settings.AUTOTASK_LOG_DIR = value
    assert list(found()) == ["autotask.E003"]


def one():
    """A function."""


def two():
    """Another one."""


def test_two_functions_of_one_name_are_e004():
    delayed_task(name="the.name")(one)
    delayed_task(name="the.name")(two)
    messages = found()
    assert list(messages) == ["autotask.E004"]
    assert "test_checks.one" in messages["autotask.E004"] and "test_checks.two" in messages["autotask.E004"]


def test_a_module_that_is_imported_twice_defines_nothing_twice():
    delayed_task(name="the.name")(one)
    delayed_task(name="the.name")(one)
    assert found() == {}


def test_a_module_with_a_schedule_that_is_reloaded_defines_nothing_twice():
    for _ in range(2):
        periodic_task(name="the.name")(FunctionType(one.__code__, {"__name__": __name__}, "one"))
    assert "autotask.E004" not in found()


@pytest.mark.parametrize("second", [periodic_task(3600), cron_task(hours=3, tz="UTC"), delayed_task()])
def test_two_schedules_of_one_function_without_a_name_of_their_own_are_e004(second):
    second(periodic_task(60)(one))
    messages = found()
    assert list(messages) == ["autotask.E004"]
    assert "test_checks.one" in messages["autotask.E004"]


def test_two_schedules_of_one_function_with_names_are_fine():
    periodic_task(3600, name="another")(periodic_task(60)(one))
    assert found() == {}


def test_a_fixed_time_that_a_clock_skips_is_i001():
    cron_task(cron="30 2 * * *", tz="Europe/Berlin", name="at.night")(one)
    messages = found()
    assert list(messages) == ["autotask.I001"]
    assert "'at.night'" in messages["autotask.I001"] and "02:30 of " in messages["autotask.I001"]
    assert "does not exist" in messages["autotask.I001"] and "comes twice" in messages["autotask.I001"]


@pytest.mark.parametrize("when", [{"cron": "30 4 * * *"}, {"cron": "*/5 * * * *"}, {"cron": "30 2 * * *", "tz": "UTC"}])
def test_there_is_nothing_to_say_of_a_time_that_each_day_has_once_or_that_is_real(when):
    cron_task(**{"tz": "Europe/Berlin", **when})(one)
    assert found() == {}


def test_a_function_in_a_function_is_e005():
    @delayed_task
    def nested():
        """Cannot be imported."""

    messages = found()
    assert list(messages) == ["autotask.E005"]
    assert "nested in another function" in messages["autotask.E005"] and nested.name in messages["autotask.E005"]


def test_a_lambda_is_e005():
    delayed_task(name="a.lambda")(lambda: None)
    assert "a lambda" in found()["autotask.E005"]


def test_a_function_of_the_script_that_is_run_is_e005(monkeypatch):
    monkeypatch.setattr(one, "__module__", "__main__")
    delayed_task(one)
    assert "__main__.one" in found()["autotask.E005"]


def test_a_module_of_tasks_that_there_is_not_is_e012(settings):
    settings.AUTOTASK_MODULES = ["demo.sales", "demo.sails", "no.such"]
    messages = [message for message in run_checks(tags=[checks.TAG]) if message.id == "autotask.E013"]
    assert ["demo.sails" in messages[0].msg, "no.such" in messages[1].msg, len(messages)] == [True, True, 2]


@pytest.mark.parametrize("decorate", [delayed_task(name="the.name"), periodic_task(60)])
def test_a_task_that_workers_do_not_find_is_w005(monkeypatch, decorate):
    monkeypatch.setattr(registry, "apps", SimpleNamespace(ready=True))
    decorate(one)
    assert list(found()) == ["autotask.W005"]
    assert f"{__name__}.one" in found()["autotask.W005"] and f"Add '{__name__}'" in found()["autotask.W005"]


def test_a_task_whose_name_leads_workers_to_its_module_is_fine(monkeypatch):
    monkeypatch.setattr(registry, "apps", SimpleNamespace(ready=True))
    delayed_task(one)
    assert found() == {}


class Callable:
    """Something that can be called, and has no name of its own."""

    def __call__(self):
        """Do nothing."""


def test_an_instance_that_can_be_called_goes_by_the_name_of_its_class():
    delayed_task(name="the.name")(Callable())
    delayed_task(name="other.name")(one)
    assert found() == {}


@pytest.mark.parametrize(("lease", "heartbeat", "ids"), [(14.9, 5, ["autotask.E006"]), (15, 5, [])])
def test_a_lease_of_less_than_three_heartbeats_is_e006(settings, lease, heartbeat, ids):
    settings.AUTOTASK_LEASE, settings.AUTOTASK_HEARTBEAT = lease, heartbeat
    assert list(found()) == ids


def test_an_unknown_setting_is_w001_with_the_one_that_was_meant(settings):
    settings.AUTOTASK_THREDS = 8
    messages = found()
    assert list(messages) == ["autotask.W001"]
    assert "AUTOTASK_THREDS" in messages["autotask.W001"]
    assert messages["autotask.W001"].endswith("; it has no effect. Did you mean AUTOTASK_THREADS?")


def test_an_unknown_setting_that_is_like_none_points_to_the_page_with_all(settings):
    settings.AUTOTASK_WIBBLE_WOBBLE = 8
    assert "The page “Settings” of the documentation has all of them." in found()["autotask.W001"]


@pytest.mark.parametrize("signing", ["SECRET_KEY", "AUTOTASK_SIGNING_KEY"])
def test_a_key_for_pulling_that_signs_is_e040(settings, signing):
    settings.AUTOTASK_SIGNING_KEY = "another-secret-with-32-characters"
    settings.AUTOTASK_PULL_KEY = getattr(settings, signing).encode()
    messages = found()
    assert list(messages) == ["autotask.E040"]
    assert signing in messages["autotask.E040"]
    assert settings.SECRET_KEY not in messages["autotask.E040"]


def test_a_short_key_for_pulling_is_w040(settings):
    settings.AUTOTASK_PULL_KEY = "fifteen--------"
    assert list(found()) == ["autotask.W040"]
    settings.AUTOTASK_PULL_KEY += "!"
    assert found() == {}


def test_a_setting_of_django_simpletask2_is_i002(settings):
    settings.DJANGO_SIMPLETASK2_ACLKEY = "Bqud27SzhUymXDuBfvYNHJWQm0i4FdUB"
    messages = found()
    assert list(messages) == ["autotask.I002"]
    assert "AUTOTASK_PULL_KEY" in messages["autotask.I002"]
    settings.AUTOTASK_PULL_KEY = "a key of its own that is long"
    assert found() == {}


def test_naive_moments_are_w003(settings):
    settings.USE_TZ = False
    assert list(found()) == ["autotask.W003"]


@pytest.mark.parametrize("name", ["AUTOTASK_PULL_REDIS", "DJANGO_SIMPLETASK2_REDIS_NAME"])
def test_a_redis_that_is_not_named_is_e041(settings, monkeypatch, name):
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "several": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": ["redis://a", "redis://b"]},
    }
    monkeypatch.setattr(about_pulling, "find_spec", lambda package: object())
    for value in ("default", "missing", "http://user:hunter2@example.org"):
        setattr(settings, name, value)
        message = found()["autotask.E041"]
        assert name in message
        assert "hunter2" not in message
    for value in ("several", "redis://example.org", "rediss://example.org/1"):
        setattr(settings, name, value)
        assert not {"autotask.E041", "autotask.E042"} & set(found())


def test_a_redis_without_its_package_is_e042(settings, monkeypatch):
    settings.AUTOTASK_PULL_REDIS = "redis://example.org"
    monkeypatch.setattr(about_pulling, "find_spec", lambda package: None)
    assert list(found()) == ["autotask.E042"]


@pytest.mark.parametrize("check", [*checks.CHECKS, *checks.NOTES], ids=lambda check: check.__name__)
def test_each_id_has_an_anchor_in_the_documentation(check):
    id, _, _ = check.__doc__.partition(":")
    page = (ROOT / "docs" / "reference" / "checks.rst").read_text(encoding="utf-8")
    assert f"\n.. _{id}:\n\n{id}: " in page


def no_executor():
    raise AssertionError("a check does not make executors")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("tests.unit.test_checks.no_such", "cannot be imported"),
        ("tests.no_such.module", "cannot be imported"),
        ("autotask.checks.TAG", "is not a function"),
    ],
)
def test_an_executor_whose_path_leads_nowhere_is_e007(settings, path, said):
    settings.AUTOTASK_EXECUTORS = {"good": f"{__name__}.no_executor", "bad": path}
    messages = found()
    assert list(messages) == ["autotask.E007"]
    assert "'bad'" in messages["autotask.E007"] and said in messages["autotask.E007"]


def test_a_task_for_an_executor_that_is_not_there_is_e008_with_the_one_that_was_meant(settings):
    # Given
    settings.AUTOTASK_EXECUTORS = {"cluster": f"{__name__}.no_executor"}
    for executor in (None, "thread", "process", "cluster", "clutser"):
        delayed_task(name=f"tests.{executor}", executor=executor)(one)

    # Then
    messages = found()
    assert list(messages) == ["autotask.E008"]
    assert "'clutser'" in messages["autotask.E008"] and "Did you mean cluster?" in messages["autotask.E008"]
    assert messages["autotask.E008"].endswith("or add 'clutser' to AUTOTASK_EXECUTORS.")


def test_a_task_with_a_limit_that_has_no_number_is_e016_with_the_one_that_was_meant(settings):
    # Given
    settings.AUTOTASK_LIMITS = {"openai": 20}
    for number, concurrency in enumerate((2, "openai", "opneai", Limit(3, name="mail"))):
        delayed_task(name=f"tests.{number}", concurrency=concurrency)(one)

    # Then
    messages = found()
    assert list(messages) == ["autotask.E016"]
    assert "'tests.2' has the limit 'opneai'" in messages["autotask.E016"]
    assert "Did you mean openai?" in messages["autotask.E016"]


def test_a_limit_of_a_queue_that_no_task_has_is_w007_with_the_one_that_was_meant(settings):
    # Given
    settings.AUTOTASK_LIMITS = {"queue:mail": 2, "queue:maill": 2, "queue:slow": 2, "queue:web": 2, "*": 9}
    settings.AUTOTASK_QUEUES = ["slow"]
    settings.TASKS = {"default": {"BACKEND": "autotask.backend.AutotaskBackend", "QUEUES": ["web"]}}
    delayed_task(name="tests.mail", queue="mail")(one)

    # Then
    messages = found()
    assert list(messages) == ["autotask.W007"]
    assert "AUTOTASK_LIMITS has 'queue:maill', but no task has the queue 'maill'" in messages["autotask.W007"]
    assert "Did you mean mail?" in messages["autotask.W007"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("queu:mail", "Did you mean queue:mail?"),
        ("type:tests.sent", "For a limit of the task 'tests.sent', use AUTOTASK_MAX_TYPE_COUNT."),
        ("opneai", "Did you mean openai?"),
        ("tests.plain", "Names are '*', 'disk', 'openai', 'tests.counted', 'queue:NAME'"),
    ],
)
def test_a_limit_that_no_task_names_is_w009_with_the_names_that_there_are(settings, monkeypatch, name, meant):
    # Given
    monkeypatch.setattr(registry, "limits_of_others", set())
    settings.AUTOTASK_LIMITS = {"openai": 20, "disk": 5, "tests.counted": 2, "queue:mail": 2, "*": 9, name: 1}
    for task, concurrency in (("plain", None), ("sent", "openai"), ("written", Limit(3, name="disk")), ("counted", 4)):
        delayed_task(name=f"tests.{task}", queue="mail", concurrency=concurrency)(one)

    # Then
    messages = found()
    assert list(messages) == ["autotask.W009"]
    assert f"AUTOTASK_LIMITS has {name!r}, but no task has a limit of this name" in messages["autotask.W009"]
    assert meant in messages["autotask.W009"]


def test_a_limit_of_a_task_that_does_not_exist_is_w008_with_the_one_that_was_meant(settings):
    settings.AUTOTASK_MAX_TYPE_COUNT = {"tests.render": 2, "tests.rendr": 2}
    delayed_task(name="tests.render")(one)
    messages = found()
    assert list(messages) == ["autotask.W008"]
    assert "AUTOTASK_MAX_TYPE_COUNT has 'tests.rendr'" in messages["autotask.W008"]
    assert "Did you mean tests.render?" in messages["autotask.W008"]


def test_a_database_that_commits_nothing_by_itself_is_e014(monkeypatch):
    monkeypatch.setitem(connections["default"].settings_dict, "AUTOCOMMIT", False)
    assert list(found()) == ["autotask.E015"]


def test_a_webhook_whose_host_is_not_allowed_is_e021_and_one_without_a_secret_e022(settings):
    settings.AUTOTASK_WEBHOOK_HOSTS = ["a.example"]
    settings.BILLING_SECRET = "whsec_" + "YWJj" * 10
    hooks = [Webhook("https://a.example/1", secret="BILLING_SECRET"), Webhook("https://a.example:8443/2")]
    delayed_task(name="tests.1", on_end=hooks)(one)

    messages = found()

    assert sorted(messages) == ["autotask.E021", "autotask.E022"]
    assert "https://a.example:8443/2" in messages["autotask.E021"]
    assert "AUTOTASK_WEBHOOK_SECRET must be" in messages["autotask.E022"]


def test_webhooks_that_can_be_called_are_fine(settings):
    settings.AUTOTASK_WEBHOOK_HOSTS = ["*.example:*"]
    settings.AUTOTASK_WEBHOOK_SECRET = ["whsec_" + "YWJj" * 10]
    delayed_task(name="tests.1", on_end=Webhook("https://a.example:8443/2"))(one)

    assert found() == {}


def test_an_invalid_secret_of_webhooks_is_e003_only_and_not_shown(settings):
    settings.AUTOTASK_WEBHOOK_HOSTS = ["a.example"]
    settings.AUTOTASK_WEBHOOK_SECRET = "hunter2"
    delayed_task(name="tests.1", on_end=Webhook("https://a.example"))(one)

    messages = found()

    assert list(messages) == ["autotask.E003"]
    assert "hunter2" not in messages["autotask.E003"]


def test_mails_without_a_sender_are_w021(settings):
    settings.DEFAULT_FROM_EMAIL = "webmaster@localhost"
    assert found() == {}
    delayed_task(name="tests.1", email="a@example.org")(one)

    assert list(found()) == ["autotask.W021"]
    settings.AUTOTASK_MAIL_FROM = "reports@example.org"
    assert found() == {}


@pytest.mark.skipif(django.VERSION < (6, 1), reason="has no MAILERS")
def test_mails_without_a_default_mailer_are_w021(settings):
    settings.MAILERS = {"other": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}}
    delayed_task(name="tests.1", email="a@example.org")(one)

    assert "MAILERS" in found()["autotask.W021"]
