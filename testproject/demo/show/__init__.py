"""The parts of the command "demo"."""
