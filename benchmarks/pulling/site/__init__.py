"""A site whose rows are tasks, for either package."""
