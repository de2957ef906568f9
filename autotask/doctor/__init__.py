"""What keeps tasks from being run, and the fix: the checks, and how they are gone through."""
