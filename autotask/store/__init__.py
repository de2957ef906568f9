"""The only place with SQL; each module is one act, with its statement next to its function.

Every function takes the connection to use. Web processes pass :func:`autotask.store.connection.current`, so that their
writes commit or roll back with the caller's transaction; workers pass connections of their own.
Every stored moment comes from the clock of the database.
"""
