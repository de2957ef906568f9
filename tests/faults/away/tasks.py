"""Four schedules with different policies on missed ticks."""

from autotask.tasks import periodic_task


@periodic_task(seconds=60, misfire="skip", overlap="allow", ttl=86400, name="faults.skip")
@periodic_task(seconds=60, misfire="once", overlap="allow", ttl=86400, name="faults.once")
@periodic_task(seconds=60, misfire="all", overlap="queue", ttl=86400, name="faults.all")
@periodic_task(seconds=100_000, misfire="once", overlap="allow", ttl=86400, name="faults.late")
def work() -> None:
    """Do nothing."""
