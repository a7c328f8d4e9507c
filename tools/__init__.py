"""What the project's own commands need, and no user."""
