"""The HTTP API: posts next to a bare view, and clients that wait."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    return bench.run("http_wait") | bench.run("http_held") | bench.run("http_post")


MEASURE = Measure(
    "http",
    "the HTTP API: posts next to a bare view, and 1,000 clients that wait",
    (
        Figure("post_rate", "POST tasks/, gunicorn with 2 sync workers", "requests/s"),
        Figure("bare_rate", "a bare view that makes the same call", "requests/s"),
        Figure("post_ratio", "to the bare view", "×", least=0.8),
        Figure("kb_a_client", "memory of uvicorn for each of 1,000 clients that wait", "kB", most=20),
        Figure("inside_kb_a_client", "the same without hold_waits()", "kB"),
        Figure("inside_p99_ms", "end of a task to its answer without it, p99", "ms"),
        Figure("django_kb_a_client", "the same for an async view of Django that only awaits", "kB"),
        Figure("django_threads", "threads of uvicorn for that", ""),
        Figure("let_go_kb_a_client", "the same, if it ends the thread that Django keeps for it", "kB"),
        Figure("empty_kb_a_client", "the same for an ASGI application without Django", "kB"),
        Figure("threads", "threads of uvicorn while they wait", ""),
        Figure("listening", "connections that listen", "", most=1),
        Figure("connections", "all connections of the server to the database", ""),
        Figure("answer_p50_ms", "end of a task to its answer, p50", "ms"),
        Figure("answer_p99_ms", "end of a task to its answer, p99", "ms", most=50),
        Figure("at_once_p99_ms", "the same, if all wait for one task, p99", "ms"),
    ),
    _take,
)
