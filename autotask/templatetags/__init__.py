"""Template tags: ``{% load autotask %}``."""
