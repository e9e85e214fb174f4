"""Objects, their one counter of versions, and the changes that a watch replays."""

from __future__ import annotations

import copy
import threading
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.kube.selectors import seconds_text, utc_now
from tests.kube.status import ApiError, already_exists, conflict, not_found

FIRST_VERSION = 1000
KEPT_CHANGES = 2000

Item = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One step in an object's life; ``previous`` is what a watcher's selector saw before."""

    version: int
    type: str
    item: Item
    previous: Item | None


class Storage:
    """Stored objects are never changed in place: each update stores a new one, so that readers need no lock."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = FIRST_VERSION
        self._items: dict[str, dict[tuple[str, str], Item]] = defaultdict(dict)
        self._changes: dict[str, list[Change]] = defaultdict(list)
        self._forgotten = FIRST_VERSION
        """Changes up to this version are gone: a watch from before it is too old."""

    def get(self, resource: str, namespace: str, name: str) -> Item:
        """404 where it is absent."""
        with self.changed:
            item = self._items[resource].get((namespace, name))
        if item is None:
            raise not_found(resource, name)
        return item

    def list(self, resource: str, namespace: str | None = None) -> tuple[list[Item], int]:
        """Objects by name, and the version that they are as of. None is every namespace."""
        with self.changed:
            found = [item for (where, _), item in sorted(self._items[resource].items()) if namespace in (None, where)]
            return found, self.version

    def create(self, resource: str, item: Item) -> Item:
        """409 where the name is taken."""
        with self.changed:
            metadata = item["metadata"]
            key = (metadata.get("namespace", ""), metadata["name"])
            if key in self._items[resource]:
                raise already_exists(resource, metadata["name"])
            item = copy.deepcopy(item)
            item["metadata"]["uid"] = str(uuid.uuid4())
            item["metadata"]["creationTimestamp"] = seconds_text(utc_now())
            return self._put(resource, key, "ADDED", item, None)

    def update(
        self,
        resource: str,
        namespace: str,
        name: str,
        change: Callable[[Item], Item | None],
        *,
        uid: str | None = None,
    ) -> Item:
        """Apply ``change`` to a copy: in place, or by returning another one.

        ``uid`` is what the caller believes to update: 409 where it is another. An update that changes nothing makes no
        version.
        """
        with self.changed:
            before = self.get(resource, namespace, name)
            if uid is not None and uid != before["metadata"]["uid"]:
                raise conflict(
                    resource,
                    name,
                    f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['metadata']['uid']}",
                )
            draft = copy.deepcopy(before)
            after = change(draft) or draft
            if after == before:
                return before
            return self._put(resource, (namespace, name), "MODIFIED", after, before)

    def delete(self, resource: str, namespace: str, name: str) -> Item:
        """Remove the object itself; the final event carries its last state and a new version."""
        with self.changed:
            before = self.get(resource, namespace, name)
            del self._items[resource][(namespace, name)]
            return self._note(resource, "DELETED", copy.deepcopy(before), before)

    def since(self, resource: str, version: int) -> list[Change]:
        """Changes after ``version``, oldest first; 410 where they are no longer known."""
        with self.changed:
            if version < self._forgotten:
                raise ApiError(410, f"too old resource version: {version} ({self._forgotten})")
            changes = self._changes[resource]
            first = len(changes)
            while first and changes[first - 1].version > version:
                first -= 1
            return changes[first:]

    def forget(self) -> None:
        """As etcd's compaction does: watches and pages from before now are answered with 410."""
        with self.changed:
            self._forgotten = self.version
            self._changes.clear()

    @property
    def forgotten(self) -> int:
        return self._forgotten

    def _put(self, resource: str, key: tuple[str, str], kind: str, item: Item, previous: Item | None) -> Item:
        self._items[resource][key] = item
        return self._note(resource, kind, item, previous)

    def _note(self, resource: str, kind: str, item: Item, previous: Item | None) -> Item:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        changes = self._changes[resource]
        changes.append(Change(version=self.version, type=kind, item=item, previous=previous))
        if len(changes) > KEPT_CHANGES:
            self._forgotten = max(self._forgotten, changes[0].version)
            del changes[0]
        self.changed.notify_all()
        return item
