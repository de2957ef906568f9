"""The measured task function, for django-tasks-db."""

from django.tasks import task

from benchmarks import probe


@task
def nothing(number: int) -> int:
    """Only record that it has begun."""
    return probe.hit(number)
