"""The settings of a worker process that a test has started, and of all that this starts: those of the test itself.

Without them it would take the database of the project for its own, and send real mails.
"""

import importlib
import os
import pickle

from autotask.testing_process import ORIGINAL, VALUES

_module = importlib.import_module(os.environ[ORIGINAL])
globals().update({name: getattr(_module, name) for name in dir(_module) if name.isupper()})

with open(os.environ[VALUES], "rb") as _file:
    globals().update(pickle.load(_file))
