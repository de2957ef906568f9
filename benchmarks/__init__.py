"""How fast autotask is on this machine, by itself and compared with other task queues: ``python -m benchmarks --help``.

Start reading at ``suite.py`` (autotask by itself) or ``compare.py`` (with its peers). Both have a ``Session`` carry out orders:
each is one measurement of one queue, in its own process (``drivers/__main__.py``), on a new database.
"""
