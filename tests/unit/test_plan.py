"""Plans: the gates, the unique key and the bucket of a call, from the options of its task and the limits of the site."""

import inspect
import json
from types import SimpleNamespace

import pytest
from hypothesis import given, strategies as st

from autotask import registry
from autotask.exceptions import InvalidOption, UnsuitableKey
from autotask.flow import Flow, LimitGate, RateGate
from autotask.flow.keys import KeyWriter
from autotask.flow.plan import Plan, Site, Throttle, present_limits
from autotask.options import Options
from autotask.site_limits import site
from autotask.tasks import Debounce, Limit, Rate, delayed_task
from autotask.texts.masks import Masks

NAME = "shop.sync"


def plan(site=None, /, **options):
    def sync(account_id, size=1): ...

    return Plan.of(NAME, Options.of("here", **options), inspect.signature(sync), site or Site())


def flow(site=None, /, arguments=(7, 1), **options):
    return plan(site, **options).flow(dict(zip(("account_id", "size"), arguments, strict=True)))


def limits(limits=(), most=None, **by_type):
    return Site.of(dict(limits), most, by_type, KeyWriter(Masks(())))


# --- whether there is one -------------------------------------------------------------------------------------------


def test_a_task_without_flow_control_has_no_plan():
    assert plan() is None
    assert plan(limits({"openai": 20, "queue:mail": 4}, **{"shop.other": 2})) is None


@pytest.mark.parametrize(
    "site",
    [limits({"*": 5}), limits(most=5), limits({"queue:default": 4}), limits(**{NAME: 2}), limits({"type:" + NAME: 2})],
)
def test_a_limit_of_the_site_makes_a_plan(site):
    assert plan(site) is not None


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("concurrency", "gate"),
    [
        (2, LimitGate(f"limit:{NAME}", NAME, 2)),
        (Limit(1, key="account_id"), LimitGate(f"limit:{NAME}(account_id=7)", NAME, 1)),
        (Limit(1, key=lambda account_id, size: account_id % 4), LimitGate(f"limit:{NAME}(3)", NAME, 1)),
        (Limit(3, name="mail"), LimitGate("limit:mail", "mail", 3)),
        ("openai", LimitGate("limit:openai", "openai", 20)),
        (Limit(key="account_id", name="openai"), LimitGate("limit:openai(account_id=7)", "openai", 20)),
        (Limit(30, name="openai"), LimitGate("limit:openai", "openai", 20)),
        (Limit(10, name="openai"), LimitGate("limit:openai", "openai", 10)),
    ],
)
def test_a_limit_is_a_gate(concurrency, gate):
    assert flow(limits({"openai": 20}), concurrency=concurrency).gates == (gate,)


def test_gates_are_the_own_limit_the_rate_and_then_shared_limits():
    site = limits({"queue:mail": 4, "*": 50}, 5, **{NAME: 3})
    found = flow(site, concurrency=Limit(1, key=True), when_full="drop", rate="5/s", queue="mail")
    assert found.gates == (
        LimitGate(f"limit:{NAME}(account_id=7, size=1)", NAME, 1, "drop"),
        RateGate(f"rate:{NAME}", NAME, 0.2, 1.0, 1.0),
        LimitGate(f"limit:type:{NAME}", f"type:{NAME}", 3),
        LimitGate("limit:queue:mail", "queue:mail", 4),
        LimitGate("limit:*", "*", 5),
    )
    assert found.unique_key is None


def test_another_queue_has_another_gate():
    site = limits({"queue:mail": 4})
    assert plan(site) is None
    assert [gate.key for gate in flow(site, queue="mail").gates] == ["limit:queue:mail"]


def test_a_limit_that_a_task_names_and_the_site_has_for_it_is_one_gate():
    assert flow(limits({"queue:mail": 4}), queue="mail", concurrency="queue:mail").gates == (
        LimitGate("limit:queue:mail", "queue:mail", 4),
    )


@pytest.mark.parametrize(
    ("site", "smallest"),
    [(limits({"*": 50}, 5), 5), (limits({"*": 5}, 50), 5), (limits({"*": 5}), 5), (limits(most=5), 5)],
)
def test_of_two_numbers_for_one_limit_the_smaller_counts(site, smallest):
    assert flow(site).gates == (LimitGate("limit:*", "*", smallest),)


def test_a_limit_without_a_number_is_refused():
    with pytest.raises(
        InvalidOption,
        match=r"'concurrency' of shop.sync must be the name of a limit in AUTOTASK_LIMITS \('a'\), but is 'b'",
    ):
        plan(limits({"a": 1}), concurrency="b")


def test_the_present_number_of_slots_comes_from_code_and_settings():
    site = limits({"openai": 20, "queue:mail": 4, "*": 50}, 5, **{NAME: 3})
    tasks = [("a", Limit(2)), ("b", Limit(1, key="x")), ("c", None), ("d", Limit(30, name="openai")),
             ("e", Limit(name="openai")), ("f", Limit(9, name="mail")), ("g", Limit(8, name="mail"))]  # fmt: skip
    assert present_limits(tasks, site) == {
        "a": 2, "b": 1, "openai": 20, "mail": 8, "queue:mail": 4, "*": 5, f"type:{NAME}": 3,
    }  # fmt: skip


# --- rates ----------------------------------------------------------------------------------------------------------


def test_a_rate_is_a_gate():
    rate = Rate("100/m", burst=20, key="account_id", cost=5)
    assert flow(rate=rate).gates == (RateGate(f"rate:{NAME}(account_id=7)", NAME, 0.6, 20.0, 5.0),)


def test_a_cost_may_depend_on_the_arguments():
    rate = Rate("1/s", burst=20, cost=lambda account_id, size: size)
    assert [flow(rate=rate, arguments=(7, size)).gates[0].cost for size in (0, 2.5, 20)] == [0.0, 2.5, 20.0]


@pytest.mark.parametrize("size", [21, -1])
def test_a_cost_that_turns_out_above_the_burst_fails_at_the_call(size):
    rate = Rate("1/s", burst=20, cost=lambda account_id, size: size)
    with pytest.raises(
        InvalidOption, match=f"'cost' of a call of shop.sync must be from 0 to 20, the burst .*, but is {size}"
    ):
        flow(rate=rate, arguments=(7, size))


# --- unique keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"unique": "account_id"}, f"{NAME}(account_id=7)"),
        ({"unique": True}, f"{NAME}(account_id=7, size=1)"),
        ({"unique": True, "unique_for": "waiting"}, f"waiting:{NAME}(account_id=7, size=1)"),
        ({"debounce": Debounce(5, key="account_id")}, f"waiting:{NAME}(account_id=7)"),
        ({"debounce": 5}, f"waiting:{NAME}"),
    ],
)
def test_a_unique_key_names_the_task_and_the_values(options, key):
    found = flow(**options)
    assert (found.unique_key, found.gates) == (key, ())
    assert plan(**options).throttle({"account_id": 7, "size": 1}) is None


@pytest.mark.parametrize(
    ("options", "bucket"),
    [
        ({"unique": "account_id", "unique_for": 60}, Throttle(f"unique:{NAME}(account_id=7)", 60.0, 1.0)),
        ({"throttle": Rate("1/10m", key="account_id")}, Throttle(f"throttle:{NAME}(account_id=7)", 600.0, 1.0)),
        ({"throttle": "5/s"}, Throttle(f"throttle:{NAME}", 0.2, 1.0)),
        (
            {"throttle": Rate("1/s", burst=9, cost=lambda account_id, size: account_id)},
            Throttle(f"throttle:{NAME}", 1.0, 9.0, 7.0),
        ),
    ],
)
def test_a_throttle_is_a_bucket_and_no_unique_key(options, bucket):
    assert plan(**options).throttle({"account_id": 7, "size": 1}) == bucket
    assert flow(**options) is None
    assert flow(**options, concurrency=1).unique_key is None


@pytest.mark.parametrize(
    ("function", "args", "key"),
    [
        (lambda a, b=1: None, (7, 2), "shop.sync(a=7, b=2)"),
        (lambda a, b=1: None, (7,), None),
        (lambda a, b=1: None, ("7", 2), None),
        (lambda a, *rest: None, (7, 2), None),
        (lambda a, **rest: None, (7,), None),
    ],
    ids=["integers", "a default", "a text", "any number", "any names"],
)
def test_a_key_of_integers_is_written_at_once_only_where_their_places_are_known(function, args, key):
    signature = inspect.signature(function)
    made = Plan.of(NAME, Options.of("here", unique=True), signature, Site())
    bound = signature.bind(*args)
    bound.apply_defaults()
    assert made.quick_key(args) == key
    assert key in (None, made.flow(bound.arguments).unique_key)


def test_a_key_is_not_written_at_once_where_there_is_more_than_that():
    assert plan(unique=True, concurrency=2).quick_key((7, 1)) is None
    assert plan(unique=True, unique_for=60).quick_key((7, 1)) is None
    assert plan(rate="1/s").quick_key((7, 1)) is None


def test_a_task_without_parameters_can_be_unique():
    made = Plan.of(NAME, Options.of("here", unique=True), inspect.signature(lambda: None), Site())
    assert made.flow({}).unique_key == f"{NAME}()"


@pytest.mark.parametrize("option", ["unique", "concurrency", "rate", "debounce"])
def test_a_message_names_the_option_with_the_key(option):
    given = {
        "unique": True,
        "concurrency": Limit(1, key=True),
        "rate": Rate("1/s", key=True),
        "debounce": Debounce(1, True),
    }
    with pytest.raises(
        UnsuitableKey, match=f"The option '{option}' of shop.sync has a key that cannot be made of a value"
    ):
        flow(**{option: given[option]}, arguments=(object(), 1))


@given(st.integers() | st.text(), st.integers() | st.text())
def test_a_flow_survives_the_table(account_id, size):
    options = {"concurrency": Limit(1, key="account_id"), "rate": Rate("1/s", key="size"), "unique": True}
    found = flow(limits({"*": 5}), arguments=(account_id, size), **options)
    loaded = Flow.load(found.stored)
    assert (loaded.gates, loaded.unique_key) == (found.gates, found.unique_key)
    assert all(gate.key.split("(")[0].partition(":")[2] == gate.base for gate in found.gates)


def test_of_a_limit_only_its_key_and_number_are_stored():
    found = flow(concurrency=Limit(1, key="account_id"), arguments=(7, 1))
    assert json.loads(found.stored) == {"gates": [{"key": f"limit:{NAME}(account_id=7)", "most": 1}]}


@pytest.mark.parametrize(
    "gate", [LimitGate("limit:a(b", "a(b", 1), LimitGate("limit:a", "a", 1, "drop")], ids=["base", "when full"]
)
def test_a_gate_that_is_not_like_most_survives_the_table(gate):
    assert Flow.load(Flow((gate,)).stored).gates == (gate,)


# --- the plan of a definition ---------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _only_own_definitions(monkeypatch):
    monkeypatch.setattr(registry, "_definitions", {})
    monkeypatch.setattr(registry, "_duplicates", [])
    monkeypatch.setattr(registry, "apps", SimpleNamespace(ready=False))


def test_a_plan_is_made_once():
    sync = delayed_task(name="tests.sync", concurrency=2)(lambda account_id: None)
    assert sync.plan is sync.plan is not None


def test_a_plan_follows_the_settings(settings):
    plain = delayed_task(name="tests.plain")(lambda: None)
    assert plain.plan is None
    settings.AUTOTASK_MAX_COUNT = 5
    assert plain.plan.flow({}).gates == (LimitGate("limit:*", "*", 5),)
    settings.AUTOTASK_MAX_TYPE_COUNT = {"tests.plain": 2}
    settings.AUTOTASK_LIMITS = {"*": 3}
    assert [(gate.base, gate.most) for gate in plain.plan.flow({}).gates] == [("type:tests.plain", 2), ("*", 3)]
    settings.AUTOTASK_MAX_COUNT, settings.AUTOTASK_MAX_TYPE_COUNT, settings.AUTOTASK_LIMITS = None, {}, {}
    assert plain.plan is None


def test_using_another_queue_makes_another_plan(settings):
    settings.AUTOTASK_LIMITS = {"queue:mail": 4}
    plain = delayed_task(name="tests.plain")(lambda: None)
    assert plain.plan is None
    assert plain.using(queue="mail").plan is not None


def test_the_site_masks_secrets_with_its_own_key(settings):
    one = site().writer
    assert one.masks.is_secret("password")
    settings.AUTOTASK_SIGNING_KEY = "another"
    assert site().writer.pepper != one.pepper
    settings.AUTOTASK_SIGNING_KEY = b"another"
    assert len(site().writer.pepper) == 32
