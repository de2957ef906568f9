"""Make rows: ``python -m benchmarks.pulling.site.make MODEL COUNT``."""

import os
import sys

import django

if __name__ == "__main__":
    django.setup()
    from django.apps import apps
    from django.conf import settings

    model, count = apps.get_model("site", sys.argv[1]), int(sys.argv[2])
    if settings.PACKAGE != "bare":
        for number in range(count):
            model.objects.create(name=str(number))
    elif os.environ["PULL_ENGINE"] == "redis":
        import redis

        names = [f"site.hellotask:{number}" for number in range(count)]
        redis.Redis(port=int(os.environ["REDIS_PORT"])).rpush("django-simpletask2:channels:default", *names)
