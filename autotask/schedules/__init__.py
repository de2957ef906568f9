"""When repeated tasks are due: each kind of schedule answers the question of :mod:`autotask.schedules.base`."""
