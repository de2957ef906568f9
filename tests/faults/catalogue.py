"""The table of faults, and the invariants that must hold under them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One line of the table.

    :ivar holds: the invariants (see docs/explanation/guarantees.rst).
    :ivar absent: why this suite has no test of it; empty if it has one.
    """

    number: int
    title: str
    holds: str
    absent: str = ""


_SERVERS = "elsewhere: tests/acceptance"

FAULTS = {
    fault.number: fault
    for fault in (
        Fault(1, "worker killed at random times", "I1 I2 I3 I4"),
        Fault(2, "worker killed, failing or paused at each crash point", "I1 I2 I3"),
        Fault(3, "guard killed in the middle of a task", "I4 I5"),
        Fault(4, "Django process killed, under each server", "I5 I1", _SERVERS),
        Fault(5, "all processes of a host killed at once", "I4"),
        Fault(6, "SIGTERM with a task that finishes within the grace period", "I3"),
        Fault(7, "SIGTERM with a task that does not finish in time", "I3 I5"),
        Fault(8, "Ctrl-C to the foreground group", "I5", _SERVERS),
        Fault(9, "worker stuck in C when its Django process dies", "I5"),
        Fault(10, "worker stopped for longer than its lease, then continued", "I2 I3"),
        Fault(11, "guard and worker stopped for longer than the lease", "I2"),
        Fault(12, "task takes all memory", "I1 I4"),
        Fault(13, "task kills its worker each time, next to 20 innocent tasks", "I1"),
        Fault(14, "task ends the process: os._exit, sys.exit, a segmentation fault", "I1"),
        Fault(15, "worker cannot start", "I7 I8"),
        Fault(16, "PostgreSQL restarted without a checkpoint, again and again", "I1 I2 I8"),
        Fault(17, "PostgreSQL down", "I7 I8"),
        Fault(18, "each connection of a worker terminated", "I1"),
        Fault(19, "answer to the claim lost", "I1 I3"),
        Fault(20, "answer to the outcome lost", "I2 I3"),
        Fault(21, "answer to the call lost", "I1"),
        Fault(22, "network between worker and PostgreSQL cut for longer than the lease", "I2 I3"),
        Fault(23, "listening connection dead, the others alive", "I4"),
        Fault(24, "slow network with broken connections", "I1 I8"),
        Fault(25, "no connection left", "I7 I1"),
        Fault(26, "disk full", "I1"),
        Fault(27, "database read-only", "I1 I8"),
        Fault(28, "standby promoted", "I1"),
        Fault(29, "everything through pgbouncer, transactions pooled", "I1"),
        Fault(30, "old snapshot under load", "I8"),
        Fault(31, "transaction that enqueued commits late", "I1"),
        Fault(32, "many delayed and many finished rows", "I8"),
        Fault(33, "no vacuum, stale statistics", "I8"),
        Fault(34, "long lock on the table of tasks", "I1 I7"),
        Fault(35, "claim, cancel, rescue and retry hammer the same rows", "I1"),
        Fault(36, "clock of the worker's host wrong, and jumping", "I6 I4"),
        Fault(37, "clock of the database jumping", "I6"),
        Fault(38, "daylight saving", "I6", "elsewhere: tests/unit/test_cron_like_cronie.py"),
        Fault(39, "schedulers, one of them killed each second", "I6"),
        Fault(40, "no scheduler for a while", "I6"),
        Fault(41, "old worker meets an unknown task and a newer payload", "I1"),
        Fault(42, "payloads tampered with", "I9 I8"),
        Fault(43, "signing keys rotated", "I1 I9"),
        Fault(44, "results and exceptions that cannot be stored or shown", "I1 I8"),
        Fault(45, "row deleted, edited or cancelled while it runs", "I2 I7"),
        Fault(46, "hung task, soft and hard time limit", "I5 I3"),
        Fault(47, "task leaves a mess behind", "I1"),
        Fault(48, "gunicorn recycles its workers", "I5 I3 I7", _SERVERS),
        Fault(49, "autoreload again and again", "I5", _SERVERS),
        Fault(50, "uWSGI", "I5", "elsewhere: not part of this suite"),
        Fault(51, "management commands start no companion", "I7", _SERVERS),
        Fault(52, "parent forks and dies", "I5", _SERVERS),
        Fault(53, "storm of calls", "I7"),
        Fault(54, "many results to prune under load", "I7 I8"),
        Fault(55, "soak for hours", "I1 to I8", "elsewhere: not part of this suite, it takes hours"),
        Fault(56, "hostile strings in admin and logs", "I9", "elsewhere: not part of this suite"),
        Fault(57, "companion killed while it is handed tasks", "I1 I2 I4"),
        Fault(58, "process killed or paused between storing a task and handing it over", "I1 I4"),
        Fault(62, "tasks leave threads, child processes and exit hooks behind that do not finish", "I3 I4"),
        Fault(59, "rows that the database refuses: outcomes, orphans, and all rows", "I1 I2 I4"),
        Fault(60, "notification queue full", "I1 I7 I8"),
        Fault(64, "timeouts of the role and of the database: statement, lock, idle session, transaction", "I1 I8"),
        Fault(65, "synchronous standby away", "I1 I5"),
        Fault(66, "everything through poolers that keep sessions: pgbouncer and pgpool-II", "I1"),
        Fault(61, "bytes: large results and arguments, results with very many attempts; no thread left", "I1 I7 I8"),
        Fault(67, "limits: workers killed", "I1 I2 I10"),
        Fault(68, "limits: workers stopped for longer than their leases", "I2 I10"),
        Fault(69, "limits: PostgreSQL restarted, connections terminated", "I1 I10"),
        Fault(70, "unique keys: 16 callers, callers and workers killed, calls rolled back, cancelled, retried", "I10"),
        Fault(71, "full limit, paused task and closed bucket, with thousands of tasks waiting at each", "I7 I10"),
        Fault(72, "workers and callers on the same keys in any order, transactions left open for a while", "I7 I10"),
        Fault(73, "rates: workers killed and stopped for longer than their leases", "I10"),
        Fault(74, "rates: a task is rate limited", "I10"),
        Fault(63, "transactions left open in each pool, next to innocent tasks", "I1 I3"),
    )
}
