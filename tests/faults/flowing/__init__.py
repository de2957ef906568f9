"""A Django app with tasks that have limits, rates and unique keys, and a program that calls them."""

from typing import Any

#: AUTOTASK_LIMITS of the app.
LIMITS = {"shared": 3, "queue:narrow": 2}


def use_in(world: Any, **settings: Any) -> None:
    """Have the programs of a world use this app.

    :param settings: further settings of autotask, without the prefix.
    """
    world.settings |= {"LIMITS": LIMITS, "MAX_CRASHES": 100, **settings}
    world.environment["FAULTS_APPS"] = __name__
