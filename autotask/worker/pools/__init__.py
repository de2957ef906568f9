"""The pools in which tasks run. Pools know nothing of tasks: they run a function with an item."""
