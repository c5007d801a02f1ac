"""Whether the data that stable meets moved away from what it was trained on, and what follows."""
