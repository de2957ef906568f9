"""Settings of the site. Environment variables name the package, the database, and the Redis of the other package."""

import os

PACKAGE = os.environ["PULLED_FROM"]
SECRET_KEY = "a-secret-of-benchmarks"
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1"]
USE_TZ = True
ROOT_URLCONF = "benchmarks.pulling.site.urls"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "benchmarks.pulling.site"]
if PACKAGE != "bare":
    INSTALLED_APPS.append(PACKAGE)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["PGDATABASE"],
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
        "USER": os.environ.get("PGUSER", ""),
        "PASSWORD": os.environ.get("PGPASSWORD", ""),
        # The usual setting for speed: a connection for each request takes longer than all the rest.
        "CONN_MAX_AGE": None,
    }
}
if PACKAGE == "django_simpletask2":
    CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://127.0.0.1:{os.environ['REDIS_PORT']}/0?decode_responses=True",
        }
    }
elif PACKAGE == "autotask" and os.environ["PULL_ENGINE"] == "redis":
    AUTOTASK_PULL_REDIS = f"redis://127.0.0.1:{os.environ['REDIS_PORT']}/0"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# Both packages understand these names.
DJANGO_SIMPLETASK2_ACLKEY = os.environ["PULL_KEY"]
DJANGO_SIMPLETASK2_TASK_PULL_TIMEOUT = 5
