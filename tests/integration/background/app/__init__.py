"""Background workers for workers that are processes of their own."""
