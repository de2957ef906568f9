"""The embedded PostgreSQL: shared by real processes, stopped after the last of them, unharmed by their deaths."""

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

import psycopg2
import pytest
from django.core.exceptions import ImproperlyConfigured

from autotask import embedded
from autotask.embedded import binaries, environment, installation, locks
from tests.helpers import ROOT, patient, wait_until
from tests.programs import Program

AS_ROOT = os.geteuid() == 0
# Seconds without a user, after which the server is asked to stop; a busy machine may need longer to do so.
GRACE = 1
SOON = GRACE + 15

installed = any(find_spec(package) for package in binaries.PACKAGES)
pytestmark = pytest.mark.skipif(not installed, reason="no package with a PostgreSQL is installed")

USE = """
import json, sys
from autotask import embedded
from autotask.embedded import watch
watch.GRACE = {grace}
print(json.dumps(embedded.database(sys.argv[1], **json.loads(sys.argv[2]))), flush=True)
{then}
sys.stdin.read()
"""


class User(Program):
    """A process that uses the server of a folder until it is told to leave, or killed."""

    def __init__(self, directory, *, then="", account=None, grace=GRACE, **options):
        # No PATH: a PostgreSQL of the machine must not be what we find. PGPORT: nor what we are led to.
        environ = {**os.environ, "PATH": "/nowhere", "PYTHONPATH": str(ROOT), "PGPORT": "1", "PGHOST": "/nowhere"}
        command = [sys.executable, "-c", USE.format(then=then, grace=grace), str(directory), json.dumps(options)]
        how = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}
        super().__init__(command, environ, directory.parent, stdin=subprocess.PIPE, **how)

    @property
    def entry(self):
        return json.loads(self.says(r"\{.*\}"))

    def says(self, pattern):
        """Wait for a line of its output, which has those of its log as well."""
        wait_until(lambda: self.lines(f"(?m)^{pattern}$") or self.has_ended(), 60, "a line of a user")
        assert self.lines(f"(?m)^{pattern}$"), self.output()
        return self.lines(f"(?m)^{pattern}$")[0][0]

    def leave(self):
        assert self.finish() == 0


@pytest.fixture
def empty(tmp_path):
    """A folder that is not there yet: its first user makes the data."""
    yield tmp_path / "pgdata"
    embedded.remove(tmp_path / "pgdata")


@pytest.fixture(scope="session")
def initialized(tmp_path_factory):
    """A folder whose data was made, and whose server has stopped; to make data takes a second of a processor."""
    folder = tmp_path_factory.mktemp("initialized") / "pgdata"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from autotask import embedded; embedded.database(sys.argv[1])",
            str(folder),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as made:
        assert made.wait(patient(60)) == 0
    embedded.stop(folder)
    yield folder
    embedded.remove(folder)


@pytest.fixture
def directory(initialized, empty):
    """A folder as it is when its server has stopped, with data that no test has used."""
    installation.open_folder(empty)
    with locks.held(empty / installation.START_LOCK):
        where = installation.settle(empty)
        shutil.copytree(settled(initialized).data, where.data, copy_function=shutil.copy)
        for path in (where.data, *where.data.rglob("*")):
            where.own(path)
    return empty


def users_of(directory):
    users = []

    def start(**options):
        users.append(User(directory, **options))
        return users[-1]

    yield start
    for user in users:
        user.kill()


@pytest.fixture
def use(directory):
    """Start users of a server of the test's own."""
    yield from users_of(directory)


@pytest.fixture
def first_use(empty):
    """Start users of a server of the test's own, of whom the first one makes the data."""
    yield from users_of(empty)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A folder whose server runs, for tests that leave it as it is; to make the data takes seconds."""
    folder = tmp_path_factory.mktemp("shared") / "pgdata"
    user = User(folder)
    try:
        assert user.entry
        yield folder
    finally:
        user.kill()
        embedded.remove(folder)


@pytest.fixture
def join(shared):
    """Start further users of the shared server."""
    yield from users_of(shared)


def ask(entry, question, *values):
    """The rows that the database of ``entry`` answers with."""
    keys = {"dbname": "NAME", "user": "USER", "host": "HOST", "port": "PORT"}
    with closing(psycopg2.connect(**{key: entry[name] for key, name in keys.items()})) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(question, values)
            return cursor.fetchall() if cursor.description else None


def started_at(entry):
    """When the server of ``entry`` was started, which tells one server from another."""
    return ask(entry, "SELECT pg_postmaster_start_time()")


def server_pid(entry):
    return int((Path(entry["HOST"]) / ".s.PGSQL.5432.lock").read_text().split()[0])


def is_gone(where):
    """Whether no process of the server is left, which its lock tells."""
    guard = locks.attempt(where.server_lock)
    if guard is None:
        return False
    locks.release(guard)
    return True


def settled(directory):
    return installation.settle(directory.resolve())


def outlast_the_watcher(entry):
    """Wait until the server itself has seen more time go by than a watcher would leave it."""
    (begin,) = ask(entry, "SELECT clock_timestamp()")
    more = "SELECT clock_timestamp() > %s + %s * interval '1 second'"
    wait_until(lambda: ask(entry, more, *begin, GRACE + 2) == [(True,)], SOON)


# Starting


def test_an_empty_folder_becomes_a_database_for_django(join):
    entry = join().entry
    assert entry["ENGINE"] == "django.db.backends.postgresql"
    assert ask(entry, "SELECT current_database(), current_user") == [("postgres", "postgres")]


def test_the_server_is_durable_and_not_on_the_network(join):
    entry = join().entry
    assert ask(entry, "SHOW fsync") == [("on",)]
    assert ask(entry, "SHOW synchronous_commit") == [("on",)]
    assert ask(entry, "SHOW listen_addresses") == [("",)]
    assert stat.S_IMODE(os.stat(entry["HOST"]).st_mode) == 0o700


def test_letters_beyond_ascii_have_an_upper_case(join):
    assert ask(join().entry, "SELECT upper('é'), current_setting('server_encoding')") == [("É", "UTF8")]


def test_settings_of_the_server_and_of_django_are_passed_on(use):
    entry = use(
        settings={"max_connections": 17, "jit": False, "application_name": "a 'b' \"c\""}, CONN_MAX_AGE=60
    ).entry
    assert ask(entry, "SHOW max_connections") == [("17",)]
    assert ask(entry, "SHOW jit") == [("off",)]
    assert ask(entry, "SHOW application_name") == [("a 'b' \"c\"",)]
    assert entry["CONN_MAX_AGE"] == 60


def test_a_named_database_is_created_once(join):
    name = "my \"shop\" 'é'"
    ask(join(name=name).entry, "CREATE TABLE kept ()")
    assert ask(join(name=name).entry, "SELECT current_database(), to_regclass('kept')::text") == [(name, "kept")]


def test_a_second_process_shares_the_server(join):
    assert started_at(join().entry) == started_at(join().entry)


def test_processes_that_start_together_get_one_server(first_use):
    users = [first_use(name="shop") for _ in range(4)]
    assert len({user.entry["HOST"] for user in users}) == 1
    assert len({str(started_at(user.entry)) for user in users}) == 1


def test_asking_for_a_server_that_runs_is_fast(shared, join):
    entry = join(name="shop").entry

    def seconds():
        begin = time.perf_counter()
        assert embedded.database(shared, "shop") == entry
        return time.perf_counter() - begin

    # On a busy machine not each time
    assert any(seconds() < 0.05 for _ in range(100))


def test_what_a_killed_initdb_left_is_replaced(empty, first_use):
    where = installation.settle(installation.open_folder(empty))
    (where.directory / installation.START_LOCK).touch()
    (where.home / "data.new").mkdir()
    (where.home / "data.new" / "half").touch()
    assert ask(first_use().entry, "SELECT 1") == [(1,)]


def test_the_folder_keeps_itself_out_of_version_control(shared):
    assert (shared / ".gitignore").read_text() == "*\n"


def test_nobody_else_can_hold_its_locks(shared, join):
    assert join().entry
    files = {*shared.glob("*.lock"), *settled(shared).home.glob("*.lock")}
    assert {file.name for file in files} == {"server.lock", "start.lock", "users.lock", "watcher.lock"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_lock_that_others_could_open_is_closed_to_them(tmp_path):
    lock = tmp_path / "start.lock"
    lock.touch()
    lock.chmod(0o644)
    os.close(locks.open_file(lock))
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
def test_a_lock_that_root_makes_belongs_to_the_owner_of_the_folder_and_to_nobody_else(open_folder):
    nobody = pwd.getpwnam("nobody")
    ours, theirs = open_folder / "ours", open_folder / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        os.close(locks.open_file(folder / "start.lock"))
    os.chown(theirs, nobody.pw_uid, nobody.pw_gid)
    os.close(locks.open_file(theirs / "start.lock"))

    def as_nobody(lock):
        command = ["/bin/sh", "-c", 'exec 3>>"$1"', "sh", str(lock)]
        return subprocess.run(command, user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], stderr=subprocess.PIPE)

    assert as_nobody(theirs / "start.lock").returncode == 0
    assert b"ermission denied" in as_nobody(ours / "start.lock").stderr


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
def test_a_folder_of_somebody_else_is_refused_with_a_way_out(open_folder):
    os.close(locks.open_file(open_folder / "start.lock"))
    code = (
        "import os, sys; from pathlib import Path; from autotask.embedded import locks;"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); locks.open_file(Path(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, str(open_folder / "start.lock")]
    refused = subprocess.run(command, capture_output=True, text=True)
    assert "is somebody else's" in refused.stderr and "Run as that user" in refused.stderr


@pytest.mark.parametrize("wait", [lambda lock: locks.take(lock, locks.EXCLUSIVE), lambda lock: locks.attempt(lock, 60)])
def test_a_wait_says_what_it_waits_for(tmp_path, monkeypatch, caplog, wait):
    # Given a lock that another process has
    monkeypatch.setattr(locks, "SAY_AFTER", 0.1)
    lock = tmp_path / "start.lock"
    code = (
        "import sys; from pathlib import Path; from autotask.embedded import locks;"
        "locks.take(Path(sys.argv[1]), locks.EXCLUSIVE); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"held\n"

        # When
        with ThreadPoolExecutor(1) as pool, caplog.at_level("WARNING"):
            waiting = pool.submit(wait, lock)
            try:
                wait_until(lambda: caplog.messages, what="a line")
            finally:
                other.stdin.close()
            os.close(waiting.result(20))

    # Then
    [line] = caplog.messages
    assert f"the lock of {lock}" in line
    if Path("/proc/locks").exists():
        assert f"process {other.pid} has" in line


def test_permissions_of_the_folders_above_stay_as_they_were(tmp_path, empty, first_use):
    tmp_path.chmod(0o700)
    above = [*empty.parents, *binaries.programs().parents]
    before = [path.stat().st_mode for path in above]
    assert first_use().entry
    assert [path.stat().st_mode for path in above] == before


# Stopping


@pytest.mark.parametrize("end", [User.leave, User.kill])
def test_the_server_stops_when_its_last_user_is_gone(directory, use, end):
    users = [use(), use()]
    assert users[0].entry == users[1].entry
    where = settled(directory)
    assert not is_gone(where)
    for user in users:
        end(user)
    wait_until(lambda: is_gone(where), SOON)
    log = (where.data / "server.log").read_text()
    assert "database system is shut down" in log


def test_the_server_outlives_the_one_that_started_it(use):
    first, second = use(), use()
    begin = started_at(first.entry)
    assert started_at(second.entry) == begin
    first.kill()
    outlast_the_watcher(second.entry)
    assert started_at(second.entry) == begin


def test_an_earlier_kill_does_not_keep_the_server_for_ever(directory, use):
    first, second = use(), use()
    assert first.entry == second.entry
    first.kill()
    second.leave()
    wait_until(lambda: is_gone(settled(directory)), SOON)


def test_a_user_who_comes_soon_after_the_last_finds_the_same_server(use):
    first = use(grace=3)
    begin = started_at(first.entry)
    first.kill()
    assert started_at(use().entry) == begin


def test_a_server_that_was_stopped_starts_again_with_its_data(directory, use):
    user = use()
    ask(user.entry, "CREATE TABLE kept ()")
    user.leave()
    wait_until(lambda: is_gone(settled(directory)), SOON)
    assert ask(use().entry, "SELECT to_regclass('kept')::text") == [("kept",)]


def test_a_forked_child_is_a_user_until_it_ends(tmp_path, directory, use):
    end = tmp_path / "end"
    os.mkfifo(end)
    parent = use(then=f"import os\nif not os.fork(): open({str(end)!r}).read(); os._exit(0)")
    entry = parent.entry
    with end.open("w"):  # opens once the child waits for our end of it
        parent.kill()
        outlast_the_watcher(entry)
    wait_until(lambda: is_gone(settled(directory)), SOON)


def test_a_program_that_a_user_started_is_no_user(tmp_path, directory, use):
    end = tmp_path / "end"
    os.mkfifo(end)
    program = f"open({str(end)!r}).read()"
    user = use(then=f"import subprocess; subprocess.Popen([sys.executable, '-c', {program!r}])")
    assert user.entry
    with end.open("w"):
        user.kill()
        wait_until(lambda: is_gone(settled(directory)), SOON)


def test_stop_stops_at_once_and_keeps_the_data(directory, use):
    user = use()
    ask(user.entry, "CREATE TABLE kept ()")
    embedded.stop(directory)
    assert is_gone(settled(directory))
    embedded.stop(directory)
    assert ask(embedded.database(directory), "SELECT to_regclass('kept')::text") == [("kept",)]


def test_stop_waits_for_a_server_that_is_ending_already(directory, use):
    # Given: it has removed the file by which pg_ctl finds it
    entry = use().entry
    where, pid = settled(directory), server_pid(entry)
    (where.data / "postmaster.pid").unlink()
    os.kill(pid, signal.SIGINT)

    # When, Then
    embedded.stop(directory)
    assert is_gone(where)


def test_remove_leaves_nothing(directory, use):
    entry = use().entry
    where = settled(directory)
    embedded.remove(directory)
    assert not where.directory.exists()
    assert not where.home.exists()
    assert not Path(entry["HOST"]).exists()


def test_remove_keeps_what_somebody_else_put_there(directory, use):
    assert use().entry
    (directory / "notes.txt").touch()
    embedded.remove(directory)
    assert [path.name for path in directory.iterdir()] == ["notes.txt"]
    shutil.rmtree(directory)


def test_stop_and_remove_do_nothing_where_nothing_is(tmp_path):
    embedded.stop(tmp_path / "missing")
    embedded.remove(tmp_path / "missing")
    assert not list(tmp_path.iterdir())


# Accidents


def test_a_killed_server_is_started_again_where_it_was(directory, use):
    entry = use().entry
    ask(entry, "CREATE TABLE kept ()")
    os.kill(server_pid(entry), signal.SIGKILL)
    assert use().entry == entry
    assert ask(entry, "SELECT to_regclass('kept')::text") == [("kept",)]


def test_a_pid_that_now_is_another_process_does_not_prevent_the_start(directory, use):
    entry = use().entry
    where = settled(directory)
    os.kill(server_pid(entry), signal.SIGKILL)
    with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE, **where.credentials) as other:
        for file in (where.data / "postmaster.pid", where.socket_folder / ".s.PGSQL.5432.lock"):
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join([f"{other.pid}\n", *lines[1:]]))
        assert ask(use().entry, "SELECT 1") == [(1,)]
        assert other.poll() is None
        other.kill()


def test_a_killed_watcher_is_replaced_by_the_next_user(directory, use):
    first = use()
    assert first.entry
    where = settled(directory)
    wait_until(lambda: where.watcher_log.read_text().strip(), SOON)
    os.kill(int(where.watcher_log.read_text()), signal.SIGKILL)
    second = use()
    assert second.entry == first.entry
    first.kill()
    second.kill()
    wait_until(lambda: is_gone(where), SOON)


def test_deleting_the_folder_of_a_running_server_starts_afresh(directory, use):
    entry = use().entry
    ask(entry, "CREATE TABLE gone ()")
    pid = server_pid(entry)
    shutil.rmtree(directory)
    try:
        assert ask(use().entry, "SELECT to_regclass('gone')") == [(None,)]
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGQUIT)  # it would notice by itself, within a minute
        shutil.rmtree(entry["HOST"], ignore_errors=True)  # as root it is gone already


def test_no_socket_folder_is_left_by_a_user_that_is_killed(directory, use):
    # Given
    user = use()
    assert os.listdir(user.entry["HOST"])
    where = settled(directory)

    # When
    user.kill()

    # Then
    wait_until(lambda: not os.path.exists(user.entry["HOST"]), SOON, "the end of the folder of the socket")
    assert is_gone(where)
    assert ask(use().entry, "SELECT 1") == [(1,)]


def test_a_lost_socket_folder_is_replaced(directory, use):
    entry = use().entry
    embedded.stop(directory)
    os.rmdir(entry["HOST"])
    assert ask(use().entry, "SELECT 1") == [(1,)]


def test_a_server_of_a_user_who_closed_all_descriptors_is_joined_anew(directory, use):
    user = use(then="import os; os.closerange(3, 1000); embedded.database(sys.argv[1]); print('again', flush=True)")
    entry = user.entry
    assert user.says("again")
    outlast_the_watcher(entry)


def test_a_copy_of_the_folder_is_a_server_of_its_own(open_folder):
    original, copy = open_folder / "original", open_folder / "copy"
    users = [User(original)]
    try:
        ask(users[0].entry, "CREATE TABLE early ()")
        # Copied with its pid file and its link to the socket, as when a whole project is copied
        shutil.copytree(original, copy, symlinks=True)
        if AS_ROOT:
            account = settled(original).account
            for path in (copy / "data", *(copy / "data").rglob("*")):
                os.chown(path, account.pw_uid, account.pw_gid)
        users.append(User(copy))
        ask(users[1].entry, "CREATE TABLE late ()")
        question = "SELECT to_regclass('early')::text, to_regclass('late')::text"
        assert ask(users[0].entry, question) == [("early", None)]
        assert ask(users[1].entry, question) == [("early", "late")]
    finally:
        for user in users:
            user.kill()
        embedded.remove(original)
        embedded.remove(copy)


def test_a_server_whose_folder_was_moved_still_stops(open_folder):
    user = User(open_folder / "before")
    assert user.entry
    (open_folder / "before").rename(open_folder / "after")
    user.kill()
    wait_until(lambda: is_gone(settled(open_folder / "after")), SOON)
    wait_until(lambda: not os.path.exists(user.entry["HOST"]), what="the end of the folder of the socket")
    embedded.remove(open_folder / "after")


# Refusals


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path):
    (tmp_path / "manage.py").touch()
    with pytest.raises(ImproperlyConfigured, match="Name a folder of its own"):
        embedded.database(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manage.py"]


def test_an_option_that_django_does_not_know_is_refused(empty):
    with pytest.raises(TypeError, match="does not know CONN_MAXAGE"):
        embedded.database(empty, CONN_MAXAGE=60)
    assert not empty.exists()


def test_data_of_another_version_is_refused_with_a_way_out(directory, use):
    assert use().entry
    embedded.stop(directory)
    (settled(directory).data / "PG_VERSION").write_text("9\n")
    with pytest.raises(
        ImproperlyConfigured, match=r"is of PostgreSQL 9, and the installed package has \d+\.\d+. Delete"
    ):
        embedded.database(directory)


def test_a_setting_that_the_server_refuses_is_shown_with_its_log(directory):
    with pytest.raises(ImproperlyConfigured, match=r'(?s)pg_ctl failed.*invalid value for parameter "max_connections"'):
        embedded.database(directory, settings={"max_connections": "many"})


def test_a_setting_whose_name_cannot_be_one_is_refused(empty):
    with pytest.raises(ImproperlyConfigured, match="not the name of a PostgreSQL setting"):
        embedded.database(empty, settings={"max connections": 1})


def test_a_missing_package_is_named_with_the_command_that_installs_it(empty, monkeypatch):
    monkeypatch.setattr(binaries, "PACKAGES", ("no_such_package",))
    with pytest.raises(ImproperlyConfigured, match=r'pip install "autotask\[embedded\]"'):
        embedded.database(empty)


# Accounts


@pytest.fixture
def open_folder():
    """A folder that every account can enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="autotask-test-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another account")
def test_as_root_the_data_goes_where_the_server_can_reach_it_and_a_note_says_so(tmp_path, empty, first_use):
    tmp_path.chmod(0o700)
    assert first_use().entry
    where = settled(empty)
    assert where.account is not None
    assert where.home.parent == installation.ELSEWHERE
    assert (empty / installation.NOTE).read_text().splitlines()[0] == str(where.home)
    assert not (empty / "data").exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another account")
def test_as_root_the_data_stays_in_a_folder_that_the_server_can_reach(open_folder):
    user = User(open_folder / "pgdata")
    try:
        owner = os.stat(user.entry["HOST"]).st_uid
        assert owner != 0
        assert (open_folder / "pgdata" / "data").stat().st_uid == owner
        assert (open_folder / "pgdata").stat().st_uid == 0
    finally:
        user.kill()
        embedded.remove(open_folder / "pgdata")


def can_import_autotask(account):
    as_account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    command = [sys.executable, "-c", "from autotask import embedded"]
    try:
        return not subprocess.run(command, cwd=ROOT, capture_output=True, **as_account).returncode
    except PermissionError:
        return False


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
@pytest.mark.parametrize("order", [lambda *both: both, lambda *both: both[::-1]], ids=["user first", "root first"])
def test_root_and_the_owner_of_a_project_share_its_server(open_folder, order):
    nobody = pwd.getpwnam("nobody")
    if not can_import_autotask(nobody):
        pytest.skip("this Python is closed to other accounts")
    os.chown(open_folder, nobody.pw_uid, nobody.pw_gid)
    directory = open_folder / "pgdata"
    users = []
    try:
        for account in order(nobody, None):
            users.append(User(directory, account=account))
            assert ask(users[-1].entry, "SELECT 1") == [(1,)]
        assert started_at(users[0].entry) == started_at(users[1].entry)
        assert (directory / "data").stat().st_uid == nobody.pw_uid
        for user in users:
            user.kill()
        wait_until(lambda: is_gone(settled(directory)), SOON)
        # And each can start what the other has started before
        for account in order(None, nobody):
            users.append(User(directory, account=account))
            assert ask(users[-1].entry, "SELECT 1") == [(1,)]
    finally:
        for user in users:
            user.kill()
        embedded.remove(directory)
    assert not directory.exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root needs another account")
def test_as_root_programs_that_the_server_cannot_reach_are_copied(tmp_path, open_folder, monkeypatch):
    # Given a package below a folder that is closed to everybody but root
    package = binaries.programs().parents[1]
    tmp_path.chmod(0o700)
    for path in (package, *package.parent.glob(f"{package.name}.libs")):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(binaries, "COPIES", open_folder / "copies")
    where = installation.Installation(open_folder, open_folder, pwd.getpwnam("nobody"))
    # When the programs are looked for, once and again
    programs = binaries.programs_for(where)
    made_at = programs.stat().st_ctime_ns
    # Then they are a copy that this account can run, made once
    assert programs.is_relative_to(open_folder / "copies")
    subprocess.run([programs / "initdb", "--version"], check=True, cwd="/", **where.credentials)
    assert binaries.programs_for(where) == programs
    assert programs.stat().st_ctime_ns == made_at


# The environment


def test_an_address_in_the_environment_comes_before_the_embedded_server(empty, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://ann:secret@db.example.com:5433/shop?sslmode=require")
    entry = embedded.database_from_environment(empty, CONN_MAX_AGE=60, OPTIONS={"connect_timeout": 3})
    assert entry == {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "shop",
        "USER": "ann",
        "PASSWORD": "secret",
        "HOST": "db.example.com",
        "PORT": "5433",
        "CONN_MAX_AGE": 60,
        "OPTIONS": {"connect_timeout": 3, "sslmode": "require"},
    }
    assert not empty.exists()


def test_the_variables_of_postgresql_come_before_the_embedded_server(empty, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("PGHOST", "db.example.com")
    monkeypatch.setenv("PGUSER", "ann")
    monkeypatch.delenv("PGDATABASE", raising=False)
    entry = embedded.database_from_environment(empty)
    assert (entry["HOST"], entry["USER"], entry["NAME"]) == ("db.example.com", "ann", "ann")
    assert not empty.exists()


def test_an_environment_that_names_nothing_means_the_embedded_server(empty, monkeypatch):
    for name in ("PGHOST", "PGDATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "")
    entry = embedded.database_from_environment(empty, "shop")
    assert ask(entry, "SELECT current_database()") == [("shop",)]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://", {"NAME": "postgres", "HOST": "", "USER": "", "PORT": ""}),
        ("postgres://ann@/shop", {"NAME": "shop", "HOST": "", "USER": "ann"}),
        ("postgres://ann:p%40ss%2Fw%3Ard+@h/a%20b", {"NAME": "a b", "PASSWORD": "p@ss/w:rd+", "HOST": "h"}),
        ("postgres://%2FVar%2Frun/shop", {"NAME": "shop", "HOST": "/Var/run"}),
        ("postgres:///shop?host=/var/run&port=6432&user=ann", {"HOST": "/var/run", "PORT": "6432", "USER": "ann"}),
        ("postgres://[::1]:5433/shop", {"HOST": "::1", "PORT": "5433"}),
        ("postgres://h/shop?options=-c%20a%3Db+c", {"HOST": "h", "OPTIONS": {"options": "-c a=b+c"}}),
    ],
)
def test_addresses_are_read_as_libpq_reads_them(url, expected):
    entry = environment.parse(url)
    assert {key: entry[key] for key in expected} == expected


@pytest.mark.parametrize("url", ["mysql://ann:secret@h/shop", "postgres://ann:secret@h:port/shop", "postgres:secret"])
def test_an_address_that_is_none_is_refused_without_showing_its_password(url):
    with pytest.raises(ImproperlyConfigured) as raised:
        environment.parse(url)
    assert "postgresql://user:password@host:port/name" in str(raised.value)
    assert "secret" not in str(raised.value)
