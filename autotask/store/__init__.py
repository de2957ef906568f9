"""The only place that speaks SQL; each module is one act, its statement beside its function.

Every function takes the connection it is to use. Web processes pass :func:`autotask.store.connection.current`, so that
what is written lives and dies with the caller's transaction; workers pass connections of their own.
Every stored moment comes from the clock of the database.
"""
