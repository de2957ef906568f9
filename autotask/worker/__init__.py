"""The process that claims and runs tasks; start reading at loop.py; worker.py puts the parts together."""
