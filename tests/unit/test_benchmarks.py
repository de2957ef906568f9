"""The parts of the benchmark tool that need no server: its numbers, tables, arguments and reports."""

import json
import os
import sys
from xml.etree import ElementTree

import pytest

from benchmarks import bare_threads, compare, peers, plot, probe, report, suite, table
from benchmarks.errors import BenchmarkError
from benchmarks.figures import Spread, most_within, percentile, ratios, write
from benchmarks.measures import MEASURES
from benchmarks.measures.measure import Bench, Figure, Scale
from benchmarks.order import Order
from benchmarks.server import Server
from benchmarks.session import RunFailed

MACHINE = {
    "cpu": "a CPU",
    "cpus": 2,
    "memory_gib": 8.0,
    "system": "Linux",
    "python": "3.13",
    "packages": {"autotask": "1", "psycopg": None},
    "postgresql": {"version": "18", "fsync": "on", "synchronous_commit": "on"},
}


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "expected"), [(0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1, 100)])
def test_a_percentile_is_the_nearest_value_of_that_rank(share, expected):
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_bare_threads_do_not_beat_the_arithmetic_and_leave_the_interpreter_as_it_was():
    before = sys.getswitchinterval()
    assert 0 < bare_threads.rate(100, threads=5, compute=0.0001, sleep=0.01) <= 5 / 0.0101 * 1.3
    assert sys.getswitchinterval() == before


def test_a_percentile_of_one_value_is_that_value():
    assert percentile([7.0], 0.99) == 7.0


@pytest.mark.parametrize(
    ("moments", "most"), [([], 0), ([5], 1), ([0, 9, 10, 19], 2), ([30, 0, 31, 39, 1], 3), ([7, 7, 7], 3)]
)
def test_the_most_in_a_span_are_counted_without_its_end(moments, most):
    assert most_within(moments, 10) == most


def test_ratios_are_taken_in_each_round_that_has_both():
    assert ratios([10, None, 30], [5, 5, None]) == [2]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (12345.6, "12,346"),
        (99.94, "99.9"),
        (1.5, "1.50"),
        (0.84, "0.84"),
        (0.0301, "0.0301"),
        (-2, "-2.00"),
    ],
)
def test_a_number_is_written_with_the_digits_that_mean_something(value, text):
    assert write(value) == text


def test_a_spread_is_the_median_and_both_ends():
    assert Spread.of([3, 1, 8]) == Spread(3, 1, 8)


@pytest.mark.parametrize(
    ("figure", "value", "verdict"),
    [
        (Figure("k", "t", "×", least=0.85), 0.85, "reached"),
        (Figure("k", "t", "×", least=0.85), 0.84, "MISSED"),
        (Figure("k", "t", "ms", most=1.5), 1.5, "reached"),
        (Figure("k", "t", "ms", most=1.5), 1.6, "MISSED"),
        (Figure("k", "t", "", most=0), 1, "MISSED"),
        (Figure("k", "t", "ms"), 1, ""),
    ],
)
def test_a_verdict_compares_with_the_target(figure, value, verdict):
    assert figure.verdict(value) == verdict


# --- tables ---------------------------------------------------------------------------------------------------------


def test_a_table_aligns_names_to_the_left_and_numbers_to_the_right():
    assert table.render(["queue", "rate"], [["a", "10"], ["longer", "9,000"]]) == (
        "queue    rate\n------  -----\na          10\nlonger  9,000"
    )


def test_a_comparison_shows_medians_and_the_median_of_the_ratios_of_each_round():
    # Given: the machine was twice as fast in the last round
    found = {
        "autotask": [{"rate": 100.0}, {"rate": 120.0}, {"rate": 240.0}],
        "reference": [{"rate": 200.0}, {"rate": 200.0}, {"rate": 400.0}],
    }

    # When
    (autotask, reference) = compare.rows("drain", found, "reference")

    # Then
    assert autotask[:4] == ["autotask", "120", "100 - 240", "0.60"]
    assert reference[:4] == ["reference", "200", "200 - 400", "1.00"]


def test_a_queue_that_could_not_be_measured_is_named_below_the_table():
    found = {
        "autotask": [{"rate": 1.0}],
        "huey": [{"error": "huey has ended"}],
        "slow": [{"rate": 1.0, "complete": False}],
    }
    text = compare.show("drain", found, "huey")
    assert "huey: in 1 of 1 rounds: huey has ended" in text
    assert "slow: did not finish its tasks within the limit" in text
    assert [row[3] for row in compare.rows("drain", found, "huey")] == ["-", "-"]


class FailingSession:
    """A session whose orders fail, but for those of one metric."""

    def __init__(self, metric):
        self.metric = metric

    def run(self, order):
        """Return figures, or raise."""
        if order.metric != self.metric:
            raise RunFailed(f"{order.metric} is broken")
        return {"p50_ms": 1.0, "p99_ms": 6.0, "call_p50_ms": 0.5}


def test_a_measure_that_fails_is_reported_and_the_others_are_taken(tmp_path):
    # Given
    measures = [MEASURES["enqueue"], MEASURES["latency"]]

    # When
    values, failures = suite.take(measures, Bench(FailingSession("latency"), Scale.quick(), tmp_path, tmp_path), 2)

    # Then
    assert failures == {"enqueue": "enqueue_beside_insert is broken"}
    assert values["latency"]["p50_ms"] == [1.0, 1.0]
    lines = suite.show(measures, values, failures).splitlines()
    assert [line.split()[-1] for line in lines[2:4]] == ["reached", "MISSED"]
    assert lines[-1] == "enqueue was not measured: enqueue_beside_insert is broken"


def test_every_measure_has_a_name_of_its_own_and_figures_that_differ():
    for name, measure in MEASURES.items():
        assert measure.name == name
        keys = [figure.key for figure in measure.figures]
        assert len(set(keys)) == len(keys) > 0


# --- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("celery", "There is no driver for 'celery'. There are: autotask, reference, pgqueuer, "),
        ("pgqueuer:fast", "pgqueuer has no configuration 'fast'. There are: pgqueuer:default, pgqueuer:batch100, "),
    ],
)
def test_an_unknown_peer_gets_a_message_that_names_the_known_ones(text, expected, capsys):
    with pytest.raises(BenchmarkError) as caught:
        peers.parse(text)
    assert str(caught.value).startswith(expected)
    with pytest.raises(SystemExit) as ended:
        compare.parser().parse_args(["drain", "--with", text])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err


def test_an_unknown_measure_gets_a_message_that_names_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        suite.parser().parse_args(["drian"])
    assert "there is no measure 'drian'. There are: drain, sleep, enqueue, " in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--repeat", "0"], ["--tasks", "many"], ["--tasks", "-1"]])
def test_a_number_that_makes_no_sense_is_refused(option, capsys):
    with pytest.raises(SystemExit):
        suite.parser().parse_args(option)
    assert f"expected a whole number of at least 1, not {option[1]!r}" in capsys.readouterr().err


def test_peers_can_have_configurations_and_numbers_of_tasks_of_their_own():
    options = compare.parser().parse_args(["bulk", "--with", "pgqueuer:batch100,huey@500", "--prefill-rows", "1_000,0"])
    assert [(peer.name, config, tasks) for peer, config, tasks in options.peers] == [
        ("pgqueuer", "batch100", None),
        ("huey", "default", 500),
    ]
    assert options.prefill_rows == (1000, 0)


def test_a_ratio_to_what_is_not_measured_is_refused():
    with pytest.raises(BenchmarkError, match="--against huey is not among the measured queues: autotask, reference"):
        compare.main(["drain", "--with", "reference", "--against", "huey"])


def test_another_checkout_comes_first_and_alone_unless_others_are_asked_for(tmp_path, capsys):
    # Given
    checkout = tmp_path / "before"
    (checkout / "benchmarks" / "drivers").mkdir(parents=True)

    # When
    alone = compare.parser().parse_args(["drain", "--before", str(checkout)])
    beside = compare.parser().parse_args(["drain", "--before", str(checkout), "--with", "reference"])

    # Then
    assert [compare._label(entry) for entry in compare._asked(alone)] == ["autotask", "before"]
    assert [compare._label(entry) for entry in compare._asked(beside)] == ["autotask", "before", "reference"]
    with pytest.raises(SystemExit):
        compare.parser().parse_args(["drain", "--before", str(tmp_path)])
    assert "expected a checkout of autotask with its benchmarks" in capsys.readouterr().err


def test_rounds_go_there_and_back_again():
    # Given
    measured = []

    class Recording:
        def run(self, order):
            measured.append(order.peer)
            return {"rate": 1.0}

    # When
    compare.measure(Recording(), {"a": Order("a"), "b": Order("b")}, 3)

    # Then
    assert measured == ["a", "b", "b", "a", "a", "b"]


def test_every_peer_has_a_default_and_pinned_requirements():
    for peer in peers.PEERS.values():
        assert "default" in peer.configs
        if not peer.own:
            lines = peer.requirements.read_text().split()
            assert lines and all("==" in line for line in lines)


# --- orders and records ---------------------------------------------------------------------------------------------


def test_an_order_survives_its_way_to_another_process():
    order = Order("pgqueuer", "batch100", prefill="future", rows=10, younger=True)
    assert Order.from_json(order.to_json()) == order


def test_orders_that_need_the_same_tables_start_from_the_same_database():
    drain = Order("autotask", tasks=10)
    assert drain.preparation == Order("autotask", tasks=10, workers=4, snapshot=True).preparation
    assert drain.preparation != Order("autotask", tasks=11).preparation
    assert drain.preparation != Order("autotask", tasks=10, prefill="ended", rows=5).preparation
    assert Order("autotask", metric="latency").preparation == Order("autotask", metric="enqueue", tasks=9).preparation


def test_what_tasks_leave_behind_is_read_in_order(tmp_path, monkeypatch):
    # Given
    path = tmp_path / "probe"
    path.touch()
    monkeypatch.setenv(probe.VARIABLE, str(path))
    monkeypatch.setattr(probe, "_descriptors", {})
    reader = probe.Reader(path)

    # When
    assert [probe.hit(number) for number in (7, -1)] == [7, -1]

    # Then: what is being written just now does not count yet
    with path.open("ab") as file:
        file.write(b"half")
    first, second = reader.records()
    assert reader.count() == 2
    assert (first.number, second.number, first.pid) == (7, -1, os.getpid())
    assert first.moment <= second.moment
    reader.clear()
    assert reader.count() == 0
    os.close(probe._descriptors[os.getpid()])


def test_the_address_of_a_server_becomes_variables_that_every_program_knows():
    server = Server({"host": "/run", "port": "5433", "sslmode": "require"}, "postgres")
    assert server.environment("x") == {"PGHOST": "/run", "PGPORT": "5433", "PGSSLMODE": "require", "PGDATABASE": "x"}


# --- reports --------------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path):
    """What the benchmarks have written with --json."""
    values = {"drain": {"rate": [100.0, 300.0]}, "curve": {}}
    values["curve"] = {figure.key: [float(10 ** (index + 1))] for index, figure in enumerate(MEASURES["curve"].figures)}
    figures = [suite._to_json(name, figure, spread, found) for name, figure, spread, found in suite.each(values)]
    suite_file, compare_file = tmp_path / "suite.json", tmp_path / "compare.json"
    suite_file.write_text(
        json.dumps(
            {
                "machine": MACHINE,
                "scale": {"rows": 1000, "tasks": 5},
                "repeat": 2,
                "figures": figures,
                "not_run": {"fsync": "no compiler"},
            }
        )
    )
    results = [
        {
            "headline": f"drain, {rows} rows",
            "rows": rows,
            "orders": {"huey": {"peer": "huey"}},
            "rounds": {"huey": [{"rate": 5.0}]},
        }
        for rows in (0, 1000)
    ]
    compare_file.write_text(
        json.dumps(
            {
                "machine": MACHINE,
                "peers": {"huey": "huey 3"},
                "metric": "drain",
                "prefill": "future",
                "against": "huey",
                "results": results,
            }
        )
    )
    return [str(suite_file), str(compare_file)]


def test_a_report_has_the_figures_with_machine_and_versions_and_a_plot(files, tmp_path):
    # Given
    readme = tmp_path / "README.rst"
    readme.write_text(f"Title\n\n{report.MARK}Old figures,\non two lines.\n\nMore text.\n")

    # When
    report.main([*files, "--to", str(tmp_path), "--readme", str(readme)])

    # Then
    text = (tmp_path / report.TABLES).read_text(encoding="utf-8")
    assert "2 CPUs (a CPU), 8.0 GiB" in text
    assert "    * - drain\n      - 200\n      - 100 - 300\n      - tasks/s\n" in text
    assert "* not measured: fsync: no compiler" in text
    assert "The others: huey 3." in text
    assert ".. list-table:: drain, 0 rows." in text
    assert readme.read_text().startswith(f"Title\n\n{report.MARK}On 2 CPUs (a CPU) with PostgreSQL 18 and Python 3.13:")
    assert "one worker runs 200 no-op tasks a second.\n\nMore text.\n" in readme.read_text().replace(
        "no-op tasks a\nsecond", "no-op tasks a second"
    )
    picture = ElementTree.parse(tmp_path / report.PLOT)
    labels = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {"autotask, future rows", "autotask, ended rows", "huey, future rows", "1,000"} <= set(labels)


def test_a_file_that_is_no_report_is_refused_by_name(tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text("[]")
    with pytest.raises(BenchmarkError, match=r"wrong\.json was not written by python -m benchmarks --json"):
        report.main([str(wrong)])
    with pytest.raises(BenchmarkError, match=r"none\.json cannot be read"):
        report.main([str(tmp_path / "none.json")])


def test_the_labels_of_a_plot_do_not_cover_each_other():
    picture = plot.render({f"line {n}": [(0, 100.0), (10, 100.0 + n)] for n in range(4)}, across="rows", up="rate")
    root = ElementTree.fromstring(picture)
    heights = [float(e.get("y")) for e in root if (e.text or "").startswith("line ")]
    assert len(heights) == 4
    assert all(abs(a - b) >= 16 for a in heights for b in heights if a is not b and a != b)
    assert len(set(heights)) == 4
