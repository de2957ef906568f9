"""The task function that is measured, as django-tasks-db knows it."""

from django.tasks import task

from benchmarks import probe


@task
def nothing(number: int) -> int:
    """Only tell that it has begun."""
    return probe.hit(number)
