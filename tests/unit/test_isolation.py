"""How it is found out what the database refuses by itself."""

import pytest
from django.db import DatabaseError, OperationalError

from autotask.store import isolation
from autotask.store.isolation import Isolation, Refusals
from tests.unit.test_errors import raised

REFUSED, DOUBTFUL, OUTAGE = "23505", "42501", "53100"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Table:
    """Takes numbers, except some."""

    def __init__(self, *bad, code=REFUSED):
        self.bad, self.code = set(bad), code
        self.taken, self.statements = [], 0

    def put(self, numbers):
        self.statements += 1
        if self.bad & set(numbers):
            raise raised(self.code)
        self.taken += numbers
        return len(numbers)


def run(table, numbers, isolating=None, refused=None):
    refused = [] if refused is None else refused
    found = (isolating or Isolation()).run(numbers, table.put, lambda number, error: refused.append(number))
    return sum(found), refused


def test_what_is_accepted_takes_one_statement():
    table = Table()
    assert run(table, list(range(200))) == (200, [])
    assert table.statements == 1


def test_what_is_refused_by_itself_is_found_and_all_others_are_accepted():
    table = Table(7, 120)
    assert run(table, list(range(200))) == (198, [7, 120])
    assert table.taken == [number for number in range(200) if number not in (7, 120)]
    assert table.statements < 40


def test_one_that_is_refused_is_tried_twice():
    table = Table(1)
    assert run(table, [1]) == (0, [1])
    assert table.statements == 2


def test_nothing_at_all_is_no_refusal():
    assert run(Table(), []) == (0, [])


def test_a_doubtful_error_is_a_refusal_only_when_it_comes_again():
    table, isolating = Table(7, code=DOUBTFUL), Isolation()
    with pytest.raises(DatabaseError):
        run(table, list(range(9)), isolating)
    assert run(table, list(range(9)), isolating) == (8, [7])
    # Then it is doubtful again.
    with pytest.raises(DatabaseError):
        run(table, list(range(9)), isolating)


def test_a_success_ends_the_doubt():
    table, isolating = Table(7, code=DOUBTFUL), Isolation()
    for _ in range(3):
        with pytest.raises(DatabaseError):
            run(table, list(range(9)), isolating)
        assert run(table, [1], isolating) == (1, [])


def test_an_outage_is_never_a_refusal():
    table, isolating = Table(7, code=OUTAGE), Isolation()
    for _ in range(5):
        with pytest.raises(DatabaseError):
            run(table, list(range(9)), isolating)


def test_an_outage_in_the_middle_is_raised():
    table, refused = Table(0), []

    def put(numbers):
        if numbers == [1]:
            raise OperationalError("server closed the connection unexpectedly")
        return table.put(numbers)

    with pytest.raises(OperationalError):
        Isolation().run([0, 1], put, lambda number, error: refused.append(number))
    assert refused == [0]


def test_where_everything_is_refused_only_a_few_are_taken_apart_from_time_to_time():
    # Given
    clock, refused = Clock(), []
    isolating, table = Isolation(clock), Table(*range(1000))

    # When
    with pytest.raises(DatabaseError):
        run(table, list(range(1000)), isolating, refused)

    # Then
    assert len(refused) == isolation.MOST_IN_A_ROW
    before = table.statements
    with pytest.raises(DatabaseError):
        run(table, list(range(1000)), isolating, refused)
    assert table.statements == before + 1

    # and a while later
    clock.now += isolation.FIRST_REST + 1
    with pytest.raises(DatabaseError):
        run(table, list(range(1000)), isolating, refused)
    assert len(refused) == isolation.MOST_IN_A_ROW + isolation.FEW_IN_A_ROW

    # and when the cause is gone
    table.bad = set()
    assert run(table, list(range(1000)), isolating, refused)[0] == 1000


def test_where_something_else_takes_the_place_of_what_is_refused_nothing_is_left_alone():
    isolating, table, refused = Isolation(Clock()), Table(*range(1000)), []

    def replace(number, error):
        refused.append(number)
        isolating.accepted()

    assert isolating.run(list(range(1000)), table.put, replace) == []
    assert refused == list(range(1000))


@pytest.mark.parametrize(("bad", "piece", "every", "within"), [(150, 4, 3, 600), (150, 1000, 60, 3600)])
def test_what_lies_behind_many_that_are_refused_is_reached_in_the_end(bad, piece, every, within):
    # Given things that are found in their order, some at a time, and of which the last one is accepted
    clock, table = Clock(), Table(*range(bad))
    refusals = Refusals("Cannot put %s", clock)

    def find():
        spared = set(refusals.spared())
        return [number for number in range(bad + 1) if number not in spared][:piece]

    # When
    while bad not in table.taken and clock.now <= within:
        try:
            while find() and bad not in table.taken:
                refusals.run_found(lambda: table.put(find()), find, table.put)
        except DatabaseError:
            pass
        clock.now += every

    # Then
    assert table.taken == [bad]
    assert table.statements < 5 * bad


def test_what_is_refused_is_left_alone_for_longer_each_time_and_told_once(caplog):
    # Given
    clock, table = Clock(), Table(7)
    refusals = Refusals("Cannot put %s", clock)

    # When
    refusals.run(list(range(9)), table.put)

    # Then
    assert refusals.spared() == [7]
    clock.now += isolation.FIRST_SPARE
    assert refusals.spared() == []
    refusals.run([7], table.put)
    clock.now += isolation.FIRST_SPARE
    assert refusals.spared() == [7]
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == ["Cannot put 7"]
