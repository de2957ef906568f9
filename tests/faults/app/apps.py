"""Make workers write to the ledger, and stop at crash points."""

import os

from django.apps import AppConfig

from tests.faults import crashpoints, ledger, witness


class FaultsConfig(AppConfig):
    """Makes each process of the suite write to the ledger; some can also be crashed."""

    name = "tests.faults.app"
    label = "faults"

    def ready(self) -> None:
        """Begin."""
        if ledger.VARIABLE in os.environ:
            witness.install(ledger.from_environment())
        if crashpoints.VARIABLE in os.environ:
            crashpoints.install(ledger.from_environment())
