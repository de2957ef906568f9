"""Model tasks that the unmodified client of django-simpletask2 pulls: from autotask, and from the real server with Redis."""
