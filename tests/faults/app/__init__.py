"""A Django app for the processes of this suite: its tasks write to the ledger what happens to them."""
