"""What the command "demo" is made of."""
