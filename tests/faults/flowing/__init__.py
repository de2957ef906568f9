"""A Django app with tasks that have limits, rates and unique keys, and a program that calls them."""
