"""Django's own tests of its tasks framework, run against the backend of autotask: ``tox -e django-tests``."""
