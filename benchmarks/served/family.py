"""The ``application`` for WSGI servers whose processes have companions, on the site with the admin."""

import os

from django.core.wsgi import get_wsgi_application

# The package has named another one.
os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.served.crew"

application = get_wsgi_application()
