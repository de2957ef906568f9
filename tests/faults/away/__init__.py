"""An app with a schedule for each policy on missed ticks."""
