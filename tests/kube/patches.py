"""The three kinds of PATCH, each as its content type defines it."""

from __future__ import annotations

import copy
from typing import Any

from tests.kube.status import ApiError, bad_request

Item = dict[str, Any]

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "conditions": "type",
    "hostAliases": "ip",
}
"""Lists that a strategic merge merges by key; ``finalizers`` merges as a set, every other list is replaced."""


def json_patch(item: Item, patch: Any) -> Item:
    """RFC 6902; 422 where an operation cannot be applied."""
    if not isinstance(patch, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    item = copy.deepcopy(item)
    for step in patch:
        try:
            _one_step(item, step)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise ApiError(422, f"the server rejected our request due to an error in our request: {error}") from None
    return item


def merge_patch(item: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(item) if isinstance(item, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def strategic_merge_patch(item: Any, patch: Item) -> Item:
    """As a merge patch, but with lists of named things merged by name."""
    merged = dict(item) if isinstance(item, dict) else {}
    directive = patch.get("$patch")
    if directive == "replace":
        return {name: copy.deepcopy(value) for name, value in patch.items() if name != "$patch"}
    for name, value in patch.items():
        if name.startswith("$setElementOrder/") or name in ("$patch", "$retainKeys"):
            continue
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            merged[field] = [each for each in merged.get(field) or [] if each not in value]
        elif value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = strategic_merge_patch(merged.get(name), value)
        elif isinstance(value, list) and name == "finalizers":
            merged[name] = [*(merged.get(name) or []), *(each for each in value if each not in merged.get(name, []))]
        elif isinstance(value, list) and name in MERGE_KEYS:
            merged[name] = _merged_list(merged.get(name) or [], value, MERGE_KEYS[name])
        else:
            merged[name] = copy.deepcopy(value)
    return merged


def _merged_list(items: list[Item], patch: list[Item], key: str) -> list[Item]:
    merged = list(items)
    for each in patch:
        if not isinstance(each, dict) or key not in each:
            raise bad_request(f"map: {each} does not contain declared merge key: {key}")
        at = next((index for index, item in enumerate(merged) if item.get(key) == each[key]), None)
        if each.get("$patch") == "delete":
            merged = [item for item in merged if item.get(key) != each[key]]
        elif at is None:
            merged.append(copy.deepcopy(each))
        else:
            merged[at] = strategic_merge_patch(merged[at], each)
    return merged


def _one_step(item: Item, step: Item) -> None:
    operation, path = step["op"], _pointer(step["path"])
    if operation == "test":
        if _at(item, path) != step["value"]:
            raise ValueError(f"testing value {step['path']} failed: test failed")
        return
    if operation in ("move", "copy"):
        value = copy.deepcopy(_at(item, _pointer(step["from"])))
        if operation == "move":
            _remove(item, _pointer(step["from"]))
        _add(item, path, value)
    elif operation == "add":
        _add(item, path, copy.deepcopy(step["value"]))
    elif operation == "remove":
        _remove(item, path)
    elif operation == "replace":
        _at(item, path)
        _remove(item, path)
        _add(item, path, copy.deepcopy(step["value"]))
    else:
        raise ValueError(f"unexpected kind: {operation}")


def _pointer(text: str) -> list[str]:
    if not text.startswith("/"):
        raise ValueError(f'invalid JSON pointer: "{text}"')
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _at(item: Any, path: list[str]) -> Any:
    for part in path:
        item = item[int(part)] if isinstance(item, list) else item[part]
    return item


def _add(item: Item, path: list[str], value: Any) -> None:
    holder = _at(item, path[:-1])
    if isinstance(holder, list):
        at = len(holder) if path[-1] == "-" else int(path[-1])
        if at > len(holder):
            raise IndexError(f"add operation does not apply: index {at} is out of bounds")
        holder.insert(at, value)
    else:
        holder[path[-1]] = value


def _remove(item: Item, path: list[str]) -> None:
    holder = _at(item, path[:-1])
    if isinstance(holder, list):
        del holder[int(path[-1])]
    else:
        del holder[path[-1]]
