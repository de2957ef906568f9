"""Carry out one order in the environment of its queue, and print the figures as JSON."""

import importlib
import json
import sys

from benchmarks.drivers import metrics
from benchmarks.drivers.base import Driver
from benchmarks.order import Order
from benchmarks.peers import PEERS


def main(text: str) -> None:
    """Carry out the order that the text describes."""
    order = Order.from_json(text)
    driver: Driver = importlib.import_module(PEERS[order.peer].module).DRIVER(order)
    metric = driver.own_metrics.get(order.metric) or getattr(metrics, order.metric)
    try:
        figures = metric(driver)
    except NotImplementedError as error:
        figures = {"unsupported": str(error)}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
