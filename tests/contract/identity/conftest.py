from tests.unit.conftest import deployment, populated

__all__ = ["deployment", "populated"]
