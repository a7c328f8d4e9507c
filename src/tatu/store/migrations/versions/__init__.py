"""One module per revision; a revision that was released never changes."""
