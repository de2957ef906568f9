"""Make rows: ``python -m benchmarks.pulling.site.make MODEL COUNT``."""

import sys

import django

if __name__ == "__main__":
    django.setup()
    from django.apps import apps

    model = apps.get_model("site", sys.argv[1])
    for number in range(int(sys.argv[2])):
        model.objects.create(name=str(number))
