"""The test project with django-unfold, which replaces the templates and the style of the admin."""

from testproject.settings import *  # noqa: F403 - these settings are those, and one app more
from testproject.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = ["unfold", *_APPS]
DEBUG = False
