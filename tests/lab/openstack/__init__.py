"""A real OpenStack, release 2026.2, on loopback for as long as tests run."""
