"""Background workers of the demo, one of each kind: they look for parcels, print labels, and watch the scales."""

import asyncio
import itertools
import logging
import os
from typing import Any

from autotask.background import BackgroundQueueWorker, background_worker

logger = logging.getLogger("autotask.demo")

_numbers = itertools.count(1)


@background_worker(interval=30)
def look_for_parcels(**kwargs: Any) -> None:
    """Find a parcel every half minute, once in the whole site."""
    number = next(_numbers)
    print_label.put(number)
    weigh.put(number)
    tidy_up.trigger()


@background_worker(queue=True)
def print_label(parcel: int, **kwargs: Any) -> None:
    """Print labels one after the other: the printer takes only one at a time."""
    logger.info("the label of parcel %d is printed", parcel)


class Weigh(BackgroundQueueWorker):
    """Weighs parcels in a process of its own, and notes the weight in the worker that hosts it."""

    @staticmethod
    def run(parcel: int, **kwargs: Any) -> tuple[int, int, int]:
        """Return the number, the weight, and the process."""
        return parcel, 100 + parcel * 7 % 900, os.getpid()

    def process_result(self, result: tuple[int, int, int]) -> None:
        """Note the weight."""
        logger.info("parcel %d weighs %d g, says process %d", *result)


weigh = Weigh()


@background_worker(event=True)
def tidy_up(**kwargs: Any) -> None:
    """Tidy up, once for all parcels that came meanwhile."""
    logger.info("the table is tidy")


@background_worker(poll_delay=60)
def watch_scales(**kwargs: Any) -> None:
    """Look again and again, a minute after each look."""
    logger.info("the scales are level")


@background_worker(poll_delay=60)
async def listen_to_door(**kwargs: Any) -> None:
    """The same on an event loop."""
    await asyncio.sleep(1)
