"""The unmodified client of django-simpletask2 pulls tasks from real servers, through crashes of everybody involved."""

import http.server

import psutil
import pytest

from tests import redis_server
from tests.acceptance import puller
from tests.acceptance.kinds import KINDS
from tests.acceptance.puller import KEY, Page, Relay, client, serving
from tests.helpers import wait_until

pytestmark = pytest.mark.skipif(not puller.IS_INSTALLED, reason="django-simpletask2-server is not installed")

with_redis = pytest.mark.skipif(not redis_server.IS_INSTALLED, reason="redis-server is not installed")

APP = "tests.acceptance.st2shop"

ROWS = ("hellotask:1", "hellotask:2", "worldtask:1", "boomtask:1", "threetask:1", "threetask:2")


@pytest.fixture
def shop(site):
    """The site with the app, migrated."""
    site.apps.append(APP)
    site.manage("migrate", "--run-syncdb", "--verbosity=0")
    return site


def make(site, statement):
    """Run a statement with the models."""
    program = site.script(f"import django; django.setup()\nfrom {APP}.models import *\n{statement}")
    assert program.wait(60) == 0, program.output()


def ask(site, sql):
    """Return the rows of a query."""
    with site.database.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def undone(site, *tables):
    return sum(ask(site, f"SELECT count(*) FROM st2shop_{table} WHERE done_time IS NULL")[0][0] for table in tables)


def wait_until_done(site, *tables, seconds=60.0):
    wait_until(lambda: undone(site, *tables) == 0, seconds, "the end of all rows")


def lines(site):
    return sorted(text for (text,) in ask(site, "SELECT text FROM st2shop_line"))


def gunicorn(site, **settings):
    return site.gunicorn("--threads=12", PULL_KEY=KEY, PULL_TIMEOUT=1, **settings)


def through(redis):
    """Return the configuration of a client that takes its tasks from Redis."""
    return {"task-pull-engine": "redis", "redis": f"{redis.url}?decode_responses=True", "task-pull-timeout": 1}


def asked(task_info, step=1, **more):
    return {"aclkey": KEY, "task_info": task_info, "step": step, **more}


def well(task_info, data, step=1, more=False):
    result = {"continue_flag": more, "task_info": task_info, "next_step": step + 1, "data": data}
    return {"success": True, "result": result, "error": {"code": 0, "message": "OK"}}


def ill(code, message):
    return {"success": False, "result": None, "error": {"code": code, "message": message}}


def test_what_the_client_and_the_server_say(shop):
    server = gunicorn(shop)
    said = listened(shop, server, with_pulls=True)
    got = [answer["result"] for path, _, answer in said if path == "get_a_task"]
    assert len(got) == 6
    assert set(got) == {f"st2shop.{row}" for row in ROWS}
    assert KEY not in server.output()


@with_redis
def test_what_a_client_that_takes_tasks_from_redis_and_the_server_say(shop, tmp_path):
    with redis_server.running(tmp_path) as redis:
        server = gunicorn(shop, PULL_REDIS=redis.url)
        listened(shop, server, **through(redis))


def listened(shop, server, *, with_pulls=False, **config):
    """Let a client do a task of each kind, and return what was said; the steps must be as those of the real server."""
    with serving(Relay(server)) as relay, serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)) as page:
        url = f"http://127.0.0.1:{page.server_port}/"
        make(
            shop,
            f"HelloTask.objects.create(name='Ann'); WorldTask.objects.create(url={url!r}); BoomTask.objects.create(); "
            "ThreeTask.objects.create(); ThreeTask.objects.create(returns='none'); HelloTask.objects.create(name='Bob')",
        )
        program = client(shop, relay.url, **config)
        wait_until_done(shop, "hellotask", "worldtask", "boomtask", "threetask")
        wait_until(lambda: len(relay.said) == (17 if with_pulls else 11), what="the last answer")
        program.stop()

    ann, bob, world, boom, three, none = (f"st2shop.{row}" for row in ROWS)
    proxy = {"proxy": {"method": "GET", "url": url}}
    content = {"proxied_content": "PGgxPmdyw7zDnyDkvaDlpb08L2gxPg==\n", "proxied_error": None}
    nothing = {"proxied_content": None}
    said = [
        (asked(ann), well(ann, "Hello, Ann. Nice to meet you!")),
        (asked(world), well(world, proxy, more=True)),
        (asked(world, 2, **content), well(world, True, 2)),
        (asked(boom), ill(2910009, f"task {boom} calling do_task_main_step1 failed with error message: boom.")),
        (asked(three), well(three, {"n": 1}, more=True)),
        (asked(three, 2, **nothing), well(three, {"n": 2}, 2, more=True)),
        (asked(three, 3, **nothing), well(three, {"n": 3}, 3)),
        (asked(none), well(none, {}, more=True)),
        (asked(none, 2, **nothing), well(none, {}, 2, more=True)),
        (asked(none, 3, **nothing), well(none, None, 3)),
        (asked(bob), well(bob, "Hello, Bob. Nice to meet you!")),
    ]
    # Rows that were made in the same millisecond have no order: each task has its own.
    done = [(request, answer) for path, request, answer in relay.said if path == "do_task"]
    for task in (ann, bob, world, boom, three, none):
        assert [each for each in done if each[0]["task_info"] == task] == [
            each for each in said if each[0]["task_info"] == task
        ]
    assert len(done) == len(said)
    assert ask(shop, "SELECT content FROM st2shop_worldtask") == [("<h1>grüß 你好</h1>",)]
    return relay.said


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.name.startswith("uvicorn")][:1], ids=str)
def test_the_client_of_an_asynchronous_server(shop, kind):
    server = shop.serve(kind, PULL_KEY=KEY, PULL_TIMEOUT=1)
    make(shop, "[HelloTask.objects.create(name=str(n)) for n in range(5)]; ThreeTask.objects.create()")
    client(shop, server.url)
    wait_until_done(shop, "hellotask", "threetask")
    assert len(lines(shop)) == 5 + 3


def test_two_clients_of_four_threads_run_each_of_500_tasks_once(shop):
    server = gunicorn(shop)
    make(shop, "HelloTask.objects.bulk_create([HelloTask(name=str(n)) for n in range(500)])")
    for name in ("one", "two"):
        client(shop, server.url, name, threads=4)
    wait_until_done(shop, "hellotask", seconds=120)
    assert lines(shop) == sorted(f"hello {key}" for (key,) in ask(shop, "SELECT id FROM st2shop_hellotask"))
    assert ask(shop, "SELECT count(*) FROM st2shop_hellotask WHERE success") == [(500,)]


def test_steps_with_a_limit_run_one_at_a_time_and_none_waits_for_a_task_that_is_only_offered(shop):
    server = gunicorn(shop)
    make(shop, "NarrowTask.objects.bulk_create([NarrowTask() for _ in range(30)])")
    for name in ("one", "two"):
        client(shop, server.url, name, threads=4)
    wait_until_done(shop, "narrowtask")
    said = [text.rpartition(" ") for (text,) in ask(shop, "SELECT text FROM st2shop_line ORDER BY id")]
    assert [begun[0] for begun in said[::2]] == [ended[0] for ended in said[1::2]]
    assert len({begun[0] for begun in said}) == len(said) / 2 == 60
    assert ask(shop, "SELECT count(*) FROM st2shop_narrowtask WHERE success") == [(30,)]


@with_redis
def test_clients_that_take_tasks_from_redis_run_each_of_200_tasks_once(shop, tmp_path):
    with redis_server.running(tmp_path) as redis:
        server = gunicorn(shop, PULL_REDIS=redis.url)
        make(shop, "HelloTask.objects.bulk_create([HelloTask(name=str(n)) for n in range(200)])")
        for name in ("one", "two"):
            client(shop, server.url, name, threads=3, **through(redis))
        wait_until_done(shop, "hellotask", seconds=120)
        make(shop, "ThreeTask.objects.create()")
        wait_until_done(shop, "threetask")
    assert lines(shop) == sorted(
        [
            *(f"hello {key}" for (key,) in ask(shop, "SELECT id FROM st2shop_hellotask")),
            *(f"three 1 {n}" for n in "123"),
        ]
    )
    assert ask(shop, "SELECT count(*) FROM st2shop_hellotask WHERE success") == [(200,)]


def test_a_step_whose_worker_is_killed_is_run_again_and_the_client_gets_its_answer(shop):
    server = gunicorn(shop, LEASE=2, HEARTBEAT=0.5)
    make(shop, "ThreeTask.objects.create(act='kill once')")
    with serving(Relay(server)) as relay:
        client(shop, relay.url)
        wait_until_done(shop, "threetask")
        wait_until(lambda: len(relay.said) == 4, what="the last answer")
        assert [answer["error"]["code"] for _, _, answer in relay.said] == [0, 0, 0, 0]
    assert lines(shop) == ["three 1 1", "three 1 2", "three 1 2", "three 1 3"]


def test_another_client_goes_on_after_one_was_killed_between_two_steps(shop):
    server = gunicorn(shop, LEASE=2, HEARTBEAT=0.5)
    make(shop, "ThreeTask.objects.create(act='sleep 2')")
    first = client(shop, server.url, "first")
    wait_until(lambda: "three 1 2" in lines(shop), what="step 2")
    psutil.Process(first.pid).kill()
    client(shop, server.url, "second")
    wait_until_done(shop, "threetask")
    assert lines(shop) == ["three 1 1", "three 1 2", "three 1 3"]
    assert ask(shop, "SELECT success FROM st2shop_threetask") == [(True,)]


def test_a_step_that_takes_longer_than_the_client_waits_ends_by_itself(shop):
    server = gunicorn(shop, PULL_WAIT=1)
    make(shop, "ThreeTask.objects.create(act='sleep 4')")
    # The first step would take too long, too, if it had to wait for the companion to start.
    wait_until(lambda: ask(shop, "SELECT count(*) FROM autotask_worker") == [(2,)], what="the companions")
    with serving(Relay(server)) as relay:
        client(shop, relay.url, **{"idle-sleep": 1})
        wait_until_done(shop, "threetask", seconds=30)
        codes = [answer["error"]["code"] for path, _, answer in relay.said if path == "do_task"]
    assert codes[:2] == [0, 2910013]
    assert lines(shop) == ["three 1 1", "three 1 2", "three 1 3"]


def test_a_client_outlives_its_server(shop):
    with serving(Relay(gunicorn(shop))) as relay:
        program = client(shop, relay.url)
        wait_until(lambda: relay.asked > 1, what="a request")
        shop.servers[0].stop()
        relay.upstream = gunicorn(shop).url
        make(shop, "HelloTask.objects.create(name='Ann')")
        wait_until_done(shop, "hellotask")
        assert not program.has_ended()
