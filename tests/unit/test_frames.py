"""Messages between a worker and its child processes."""

import os

import pytest

from autotask.worker.pools.messages import Begun, Ended, Frames, Stop, frame


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_messages_come_out_whole_and_in_order_however_they_were_cut(pipe):
    # Given
    reading, writing = pipe
    messages = [Begun(), Stop("why"), Ended(b"x" * 1000), None]
    data = b"".join(map(frame, messages))
    frames, found = Frames(reading), []

    # When
    for start in range(0, len(data), 7):
        os.write(writing, data[start : start + 7])
        assert frames.read()
        while (message := frames.next()) is not None:
            found.append(message)

    # Then
    assert found == messages[:-1]


def test_the_end_of_the_pipe_is_told(pipe):
    reading, writing = pipe
    os.close(writing)
    frames = Frames(reading)
    assert not frames.read()
    assert frames.next() is None
