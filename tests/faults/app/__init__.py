"""A Django app for the processes of this suite, with its tasks."""
