"""Rows for the pages of the dashboard: many tasks in all states, with workers, made in the database itself."""

from django.db import connection

from autotask.store import held, ready

#: As a real site has them: few names, some queues, long tails of errors.
LIVE = """
INSERT INTO autotask_task (id, state, queue, priority, name, arguments, created_at, run_at, ready_at,
                           retries, ttl, payload, gate, passed, flow, progress_done, progress_total)
SELECT ('0199ffff-' || lpad(to_hex(n / 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       CASE kind.state WHEN 2 THEN 1 ELSE kind.state END,
       CASE WHEN n %% 5 = 0 THEN 'reports' WHEN n %% 7 = 0 THEN 'mail' ELSE 'default' END, n %% 3 - 1,
       (ARRAY['shop.tasks.send_invoice', 'shop.tasks.sync_orders', 'reports.tasks.build_monthly_report',
              'mail.tasks.send_digest', 'search.indexing.reindex_product'])[n %% 5 + 1],
       'customer_id=' || n || ', month=''2026-' || lpad((n %% 12 + 1)::text, 2, '0') || '''',
       now() - n * interval '20 ms', now() + CASE WHEN kind.state = 0 THEN n * interval '1 s' ELSE -n * interval '10 ms' END,
       CASE WHEN kind.state IN (1, 2) THEN now() - n * interval '10 ms' END, n %% 4, 300, repeat('x', 100)::bytea,
       CASE WHEN kind.state = 8 THEN 'limit:openai(key=' || n %% 3 || ')' END, CASE WHEN kind.state = 8 THEN 0 END,
       CASE WHEN kind.state = 8 THEN '{"gates": [], "unique": null}'::jsonb END,
       CASE WHEN kind.state = 2 THEN n * 10 END, CASE WHEN kind.state = 2 THEN 100 END
FROM generate_series(1, %(number)s) n
CROSS JOIN LATERAL (
    SELECT CASE WHEN n < 8 THEN 2 WHEN n %% 10 = 0 THEN 0 WHEN n %% 10 = 1 THEN 8 ELSE 1 END AS state) AS kind
"""

#: Those that run, in one claim; the others that are READY by their state are ready.
CLAIM = """
INSERT INTO autotask_claim (number, worker_id, at, ids)
SELECT nextval('autotask_fence'), (SELECT id FROM autotask_worker ORDER BY id LIMIT 1), now() - interval '3 s', array_agg(id)
FROM autotask_task WHERE progress_total = 100
"""
READY = f"""
WITH held AS ({held.come(f"(SELECT {held.RETURNING} FROM autotask_task t)")})
{ready.come("(SELECT t.* FROM autotask_task t WHERE t.progress_total IS NULL)")}
"""

ENDED = """
INSERT INTO autotask_result (id, state, queue, priority, name, arguments, created_at, run_at, started_at, attempt,
                             failures, retries, ttl, fence, ended_at, kept_until, payload, value, error_message)
SELECT ('0199fff0-' || lpad(to_hex(n / 65536), 4, '0') || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
       kind.state, CASE WHEN n %% 5 = 0 THEN 'reports' WHEN n %% 7 = 0 THEN 'mail' ELSE 'default' END, 0,
       (ARRAY['shop.tasks.send_invoice', 'shop.tasks.sync_orders', 'reports.tasks.build_monthly_report',
              'mail.tasks.send_digest', 'search.indexing.reindex_product'])[n %% 5 + 1],
       'customer_id=' || n || ', month=''2026-' || lpad((n %% 12 + 1)::text, 2, '0') || '''',
       ended.at - interval '5 s', ended.at - interval '4 s', ended.at - interval '2 s', 1 + n %% 3, n %% 3, 3, 300, n,
       ended.at, now() + interval '30 days',
       CASE WHEN kind.state <> 3 THEN repeat('x', 100)::bytea END,
       CASE WHEN kind.state = 3 THEN repeat('x', 100)::bytea END,
       CASE WHEN kind.state = 5 THEN 'cancelled by ann' WHEN kind.state = 4 THEN
           (ARRAY['ConnectionResetError: [Errno 104] Connection reset by peer (attempt ' || n || ')',
                  'TimeoutError: no answer from https://api.example.com/v2/orders/' || n || ' within 30 s',
                  'KeyError: ''customer_' || n || '''',
                  'ValueError: invoice ' || n || ' has no address'])[n / 20 %% 4 + 1] ELSE '' END
FROM generate_series(1, %(number)s) n
CROSS JOIN LATERAL (SELECT CASE WHEN n %% 20 = 3 THEN 4 WHEN n %% 50 = 7 THEN 5 ELSE 3 END AS state) AS kind
CROSS JOIN LATERAL (SELECT now() - (%(number)s - n) * interval '70 ms' AS at) AS ended
"""

WORKERS = """
INSERT INTO autotask_worker (id, kind, host, boot_id, pid, pid_started, serves_pid, queues, threads, version, started_at,
                             seen_at, lease_until)
SELECT gen_random_uuid(), CASE WHEN n = 1 THEN 'worker' ELSE 'companion' END, 'web-' || n, 'boot', 4000 + n, n,
       CASE WHEN n > 1 THEN 4100 + n END, '', 8, '1.0', now() - interval '3 hours',
       now() - CASE WHEN n = 3 THEN interval '4 min' ELSE interval '3 s' END,
       now() + CASE WHEN n = 3 THEN interval '-3 min' ELSE interval '1 day' END
FROM generate_series(1, 3) n
"""

#: Two days of minutes and thirty of hours, as workers would have counted them.
STATISTICS = """
INSERT INTO autotask_statistics (period, at, name, queue, started, succeeded, failed, retried, cancelled, lost, waited, ran,
                                 waiting, running)
SELECT row.period, row.at, names.name, 'default', row.n, row.n - row.n / 20, row.n / 40, row.n / 20, row.n / 50, 0, row.n, row.n,
       array_fill(0, ARRAY[12]) || ARRAY[row.n / 2, row.n / 3, row.n / 10], array_fill(0, ARRAY[18]) || ARRAY[row.n / 2, row.n / 3, row.n / 20]
FROM unnest(ARRAY['shop.tasks.send_invoice', 'shop.tasks.sync_orders', 'reports.tasks.build_monthly_report',
                  'mail.tasks.send_digest', 'search.indexing.reindex_product']) WITH ORDINALITY AS names(name, place)
CROSS JOIN LATERAL (
    SELECT 60 AS period, date_trunc('minute', now()) - m * interval '1 min' AS at,
           (40 + 30 * sin(m / 9.0 + names.place) + 10 * random())::int AS n FROM generate_series(0, 2879) m
    UNION ALL
    SELECT 3600, date_trunc('hour', now()) - h * interval '1 hour', (2400 + 500 * sin(h / 4.0))::int
    FROM generate_series(0, 719) h
) AS row
"""


def make(live: int, ended: int) -> None:
    """Replace all tasks and workers by so many rows."""
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE autotask_task, autotask_ready, autotask_claim, autotask_result, autotask_attempt, autotask_worker, "
            "autotask_statistics"
        )
        cursor.execute(WORKERS)
        cursor.execute(STATISTICS)
        cursor.execute(LIVE, {"number": live})
        cursor.execute(CLAIM)
        cursor.execute(READY)
        cursor.execute(ENDED, {"number": ended})
    for table in ("autotask_task", "autotask_ready", "autotask_result", "autotask_worker", "autotask_statistics"):
        with connection.cursor() as cursor:
            cursor.execute(f"VACUUM ANALYZE {table}")
