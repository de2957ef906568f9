"""What the loop claims, how much, and for which pool."""
