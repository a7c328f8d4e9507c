"""Tatu on one machine: the journey of `make demo` and the server of `make serve`."""
