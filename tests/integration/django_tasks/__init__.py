"""Tasks of Django itself, on the workers of autotask."""
