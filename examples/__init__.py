"""What the demonstration runs. Nothing that is installed imports this."""
