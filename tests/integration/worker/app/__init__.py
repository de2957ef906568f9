"""Task functions for workers that are processes of their own."""
