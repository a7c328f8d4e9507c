"""Clients of the original's wire that send, read and cut up exactly what the originals do."""
