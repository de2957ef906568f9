"""The test project under the strictest policy that its pages should work under."""

from testproject.settings import *  # noqa: F403 - these settings are those, and a few more
from testproject.settings import MIDDLEWARE as _MIDDLEWARE

MIDDLEWARE = [*_MIDDLEWARE, "tests.browser.policy.strict"]
DEBUG = False
