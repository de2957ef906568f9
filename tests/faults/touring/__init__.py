"""A Django app with tasks of further kinds, and a program that calls tasks of every kind."""
