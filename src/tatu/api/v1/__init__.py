"""The wire of the first Tatu, for its clients unmodified (docs/operations/original-wire.md).

Thin translations: what is decided, is decided by the same services and rules as for `/v2`.
"""
