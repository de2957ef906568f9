"""How fast autotask is on this machine: python -m benchmarks."""
