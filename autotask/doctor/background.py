"""The checks of the doctor that are about background workers."""

from autotask.doctor.diagnosis import Finding, Patient, fine, problem
from autotask.queues import serves
from autotask.store import background_read, read
from autotask.texts.lines import one_line
from autotask.texts.render import count


def look_at_hosts(patient: Patient) -> Finding:
    """Whether each background worker that is to run has a host."""
    found = background_read.read(patient.connection)
    homeless = [each for each in found if each.wanted and not any(one.worker_id for one in each.instances)]
    alive = [worker for worker in read.workers(patient.connection) if worker.alive and not worker.stopping]
    for each in homeless:
        name = one_line(each.name, 200)
        if not any(serves(worker.queues, each.queue) for worker in alive):
            return problem(
                f"the background worker {name} does not run: no worker serves its queue {each.queue}",
                f"python manage.py autotask worker --queues {each.queue}",
            )
        if each.is_gone:
            return problem(
                f"the background worker {name} does not run: no worker has had it in its code for more than a day",
                f"If it is gone for good: python manage.py autotask background forget {name}",
            )
        return problem(
            f"the background worker {name} does not run: no worker has taken it",
            "Restart the workers with the code that has it, or give them more threads (AUTOTASK_BACKGROUND_THREADS); their "
            "logs say more.",
        )
    running = sum(each.wanted for each in found)
    return fine(f"{count(running, 'background worker')} running" if found else "there are no background workers")


def look_at_messages(patient: Patient) -> Finding:
    """Whether values or triggers wait for background workers that no code has now."""
    orphans = background_read.orphans(patient.connection)
    if not orphans:
        return fine("each value or trigger that waits has a background worker")
    listed = ", ".join(f"{waiting} for {one_line(name, 200)}" for name, waiting in orphans[:10])
    first = one_line(orphans[0][0], 200)
    return problem(
        f"values or triggers wait for background workers that are in no code any more: {listed}",
        "Deploy the code that handles them, or cancel them: in the admin, or with the ids that "
        f"python manage.py autotask list --name background:{first} shows.",
    )
