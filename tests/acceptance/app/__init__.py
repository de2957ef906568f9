"""A small Django app for the servers that these tests start and kill."""
