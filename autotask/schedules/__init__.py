"""When repeated tasks are due; each kind of timetable answers the questions of :mod:`autotask.schedules.base`."""
