"""How Sphinx builds the documentation."""

import sys
from pathlib import Path

import django
from django.conf import settings

sys.path.insert(0, str(Path(__file__).parent / "_ext"))
sys.path.insert(0, str(Path(__file__).parent.parent))

# autodoc imports the models and the admin. No server is needed for that.
settings.configure(
    SECRET_KEY="only for the documentation",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "autotask",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "none"}},
)
django.setup()

import autotask  # noqa: E402 - Django has to be set up before

project = "autotask"
author = "autotask contributors"
copyright = author
release = version = autotask.__version__

extensions = ["sphinx.ext.autodoc", "sphinx_copybutton", "from_code"]
exclude_patterns = ["_build", "_ext", "explanation/performance_figures.rst", "explanation/guarantees_figures.rst"]
default_role = "literal"
# A link to something that is not here is a warning, and warnings fail the build; these are described elsewhere.
nitpicky = True
nitpick_ignore_regex = [
    ("py:exc", r"InvalidTask|TaskResultDoesNotExist|ImproperlyConfigured|django\..*"),
    ("py:obj", r"autotask\.\w+\.[PR]"),
]

html_theme = "furo"
html_title = f"autotask {version}"
html_copy_source = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"

# Prompts are not copied.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
