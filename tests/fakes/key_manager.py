"""A key manager of castellan's in memory, which can be out."""

import base64
import uuid

from castellan.common.exception import KeyManagerError, ManagedObjectNotFoundError
from castellan.key_manager.key_manager import KeyManager


class FakeKeyManager(KeyManager):
    """Keeps objects by id; with `out` it does not answer, with `quoting` it says what it got.

    `hanging` is called before anything is done.
    """

    def __init__(self, configuration=None):
        self.out = False
        self.hanging = None
        self.quoting = False
        self.objects = {}

    def store(self, context, managed_obj, expiration=None):
        self._check()
        if self.quoting:
            payload = base64.b64encode(managed_obj.get_encoded()).decode()
            raise KeyManagerError(reason=f"no match of the schema: {{'payload': '{payload}'}}")
        reference = str(uuid.uuid4())
        self.objects[reference] = managed_obj
        return reference

    def get(self, context, managed_object_id, metadata_only=False):
        self._check()
        if managed_object_id not in self.objects:
            raise ManagedObjectNotFoundError(uuid=managed_object_id)
        return self.objects[managed_object_id]

    def delete(self, context, managed_object_id, force=False):
        self._check()
        if self.objects.pop(managed_object_id, None) is None:
            raise ManagedObjectNotFoundError(uuid=managed_object_id)

    def create_key(self, context, algorithm, length, expiration=None, name=None):
        raise NotImplementedError

    def create_key_pair(self, context, algorithm, length, expiration=None, name=None):
        raise NotImplementedError

    def add_consumer(self, context, managed_object_id, consumer_data):
        raise NotImplementedError

    def remove_consumer(self, context, managed_object_id, consumer_data):
        raise NotImplementedError

    def _check(self):
        if self.hanging:
            self.hanging()
        if self.out:
            raise KeyManagerError(reason="connection refused")
