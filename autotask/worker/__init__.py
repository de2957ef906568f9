"""The process that claims and runs tasks; start reading at loop.py; worker.py connects the parts."""
