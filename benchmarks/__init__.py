"""How fast autotask is on this machine, by itself and beside other task queues: ``python -m benchmarks --help``.

Start reading at ``suite.py`` (autotask by itself) or ``compare.py`` (beside its peers). Both have a ``Session`` carry out
orders: each is one measurement of one queue, in a process of its own (``drivers/__main__.py``), on a new database.
"""
