"""What Tatu itself is called in a cloud that it serves (security.md S21)."""

USER = "tatu"
"""Tatu's own user, and its service in the catalog."""

VENDORDATA_USER = "tatu-vendordata"
"""The user by which the cloud asks for its instances."""

VENDORDATA_ROLE = "tatu-vendordata"
"""The role of that one user; nobody else is it, administrators neither."""

INVENTORY_ROLE = "tatu-inventory"
"""The role by which Tatu's own user reads what instances there are."""

KEYS_PROJECT = "tatu-keys"
"""Of Tatu alone: any member of a project can read the secrets that Barbican keeps there."""
