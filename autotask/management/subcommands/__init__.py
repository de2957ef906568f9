"""The sub-commands of ``manage.py autotask``; each file is one: its arguments, what it does, what it prints."""
