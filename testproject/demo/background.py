"""Background workers of the demo: one runs by the clock, and puts what it finds into the queue of the other."""

import itertools
import logging
from typing import Any

from autotask.background import background_worker

logger = logging.getLogger("autotask.demo")

_numbers = itertools.count(1)


@background_worker(interval=30)
def look_for_parcels(**kwargs: Any) -> None:
    """Find a parcel every half minute, once in the whole site."""
    print_label.put(next(_numbers))


@background_worker(queue=True)
def print_label(parcel: int, **kwargs: Any) -> None:
    """Print labels one after the other: the printer takes only one at a time."""
    logger.info("the label of parcel %d is printed", parcel)
