"""What happens to a pod between the request and the store: decoding, defaults, admission, validation."""

from __future__ import annotations

import copy
import functools
import json
import math
import random
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

import jsonschema
import kubernetes_validate.utils as schemas
from referencing import Registry, Resource

from tests.kube.policies import Policies, containers_of
from tests.kube.selectors import (
    DNS_LABEL,
    DNS_SUBDOMAIN,
    canonical,
    label_key_error,
    label_value_error,
    parse_time,
    quantity,
    seconds_text,
)
from tests.kube.status import Causes, bad_request, forbidden, invalid

KUBERNETES_VERSION = "1.34"
DNS_LABEL_WHY = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
DNS_SUBDOMAIN_WHY = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
NATIVE_RESOURCES = ("cpu", "memory", "ephemeral-storage")
DEFAULT_TOLERATIONS = [
    {"key": f"node.kubernetes.io/{what}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for what in ("not-ready", "unreachable")
]
MUTABLE_SPEC = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
FIELD_PATHS = re.compile(
    r"metadata\.(name|namespace|uid|(labels|annotations)\['[^']+'\])"
    r"|spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs)"
)

Item = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PriorityClass:
    """A priority class that a pod may name. The scheduler here never preempts by itself: see PodFault."""

    value: int
    preemption: str = "PreemptLowerPriority"


@dataclass(kw_only=True)
class Registered:
    """Objects that pods refer to; a test may add to them at any time."""

    namespaces: set[str]
    service_accounts: set[tuple[str, str]]
    """(namespace, name); each namespace's ``default`` is there."""
    priority_classes: dict[str, PriorityClass]
    secrets: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)


def decode(body: bytes, *, field_validation: str, warnings: list[str], kind: str = "Pod") -> Item:
    """The object in a request's body, of the right kind and types.

    Fields that the kind does not have are refused (``Strict``), dropped with a warning (``Warn``, the server's own
    default) or dropped in silence (``Ignore``).
    """
    doubled: list[str] = []
    item = _parse(body, doubled)
    if not isinstance(item, dict):
        raise bad_request(f"couldn't get version/kind; json parse error: cannot unmarshal {type(item).__name__}")
    version = item.get("apiVersion") or "v1"
    if (version, item.get("kind") or kind) != ("v1", kind):
        raise bad_request(
            f'no kind "{item.get("kind")}" is registered for version "{version}" in scheme "k8s.io/kubernetes"; '
            f"the object provided is unrecognized (must be of type {kind})"
        )
    item = {**_without_nulls(item), "apiVersion": "v1", "kind": kind}
    return conform(item, field_validation=field_validation, warnings=warnings, problems=doubled)


def conform(item: Item, *, field_validation: str, warnings: list[str], problems: list[str] | None = None) -> Item:
    """The object with the types of the official schema and without fields that it does not know."""
    problems = problems or []
    item = copy.deepcopy(item)
    for error in list(_validator(item["kind"]).iter_errors(item)):
        path = _path(error.absolute_path)
        if error.validator == "additionalProperties":
            known = error.schema.get("properties", {})
            for name in [name for name in error.instance if name not in known]:
                problems.append(f'unknown field "{f"{path}.{name}" if path else name}"')
                _drop(item, [*error.absolute_path, name])
        elif error.validator == "required":
            # Semantic validation says so in its own words, as 422.
            continue
        else:
            raise bad_request(
                f'{item["kind"]} in version "v1" cannot be handled as a {item["kind"]}: json: cannot unmarshal '
                f"{json.dumps(error.instance)[:80]} into Go struct field .{path}: {error.message[:200]}"
            )
    if problems and field_validation == "Strict":
        listed = ", ".join(problems)
        raise bad_request(
            f'{item["kind"]} in version "v1" cannot be handled as a {item["kind"]}: strict decoding error: {listed}'
        )
    if field_validation != "Ignore":
        warnings.extend(problems)
    made = item.get("metadata", {}).get("creationTimestamp")
    if made:
        try:
            item["metadata"]["creationTimestamp"] = seconds_text(parse_time(made).astimezone(UTC))
        except ValueError as error:
            raise bad_request(f'Pod in version "v1" cannot be handled as a Pod: {error}') from None
    _check_amounts(item)
    return item


def _check_amounts(item: Item) -> None:
    """400 where a quantity is none; the others get their canonical form."""
    for path, amounts in _amounts(item):
        for name, amount in amounts.items():
            try:
                quantity(amount)
            except ValueError as error:
                raise bad_request(
                    f'Pod in version "v1" cannot be handled as a Pod: {path}.{name}: {error} (was "{amount}")'
                ) from None
            amounts[name] = canonical(amount)


def admit(pod: Item, *, namespace: str, registered: Registered, policies: Policies, dice: random.Random) -> Item:
    """A new pod with everything that the server fills in; refused where it is wrong."""
    metadata = pod.setdefault("metadata", {})
    if metadata.get("namespace") not in (None, "", namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    metadata["namespace"] = namespace
    for name in ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "generation", "managedFields"):
        if name == "resourceVersion" and metadata.get(name):
            raise bad_request("resourceVersion should not be set on objects to be created")
        metadata.pop(name, None)
    if not metadata.get("name") and metadata.get("generateName"):
        tail = "".join(dice.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
        metadata["name"] = metadata["generateName"][:58] + tail
    if "spec" not in pod:
        pod["spec"] = {}
    set_defaults(pod["spec"])
    _service_account(pod, namespace, registered, dice)
    _priority(pod, registered)
    policies.set_limits(pod)
    causes = Causes()
    _validate_metadata(metadata, causes)
    _validate_spec(pod["spec"], causes)
    if causes:
        raise invalid("Pod", metadata.get("name", ""), causes)
    policies.check(pod)
    pod["status"] = {"phase": "Pending", "qosClass": _qos_class(pod["spec"])}
    metadata["generation"] = 1
    return pod


def admit_update(before: Item, after: Item) -> Item:
    """A changed pod; refused where it changes what may not change."""
    name = before["metadata"]["name"]
    causes = Causes()
    for fixed in ("name", "namespace", "uid", "creationTimestamp"):
        given = after["metadata"].get(fixed)
        if given is None:
            after["metadata"][fixed] = before["metadata"][fixed]
        elif given != before["metadata"][fixed]:
            causes.invalid(f"metadata.{fixed}", given, "field is immutable")
    for kept in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "resourceVersion"):
        after["metadata"].pop(kept, None)
        if kept in before["metadata"]:
            after["metadata"][kept] = before["metadata"][kept]
    if before["metadata"].get("deletionTimestamp"):
        added = set(after["metadata"].get("finalizers") or []) - set(before["metadata"].get("finalizers") or [])
        if added:
            causes.forbidden(
                "metadata.finalizers",
                f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(added)}",
            )
    # The status has a path of its own; here it is not touched.
    after["status"] = before["status"]
    set_defaults(after["spec"])
    _validate_metadata(after["metadata"], causes)
    _validate_spec(after["spec"], causes)
    if _frozen_part(after["spec"], before["spec"]) != _frozen_part(before["spec"], before["spec"]):
        causes.forbidden("spec", MUTABLE_SPEC)
    earlier, later = (each["spec"].get("activeDeadlineSeconds") for each in (before, after))
    if earlier is not None and (later is None or later > earlier):
        causes.invalid("spec.activeDeadlineSeconds", later, "must be less than or equal to previous value")
    if causes:
        raise invalid("Pod", name, causes)
    return after


def _parse(body: bytes, doubled: list[str]) -> Any:
    def pairs(found: list[tuple[str, Any]]) -> Item:
        names = [name for name, _ in found]
        doubled.extend(f'duplicate field "{name}"' for name in sorted(set(names)) if names.count(name) > 1)
        return dict(found)

    def constant(name: str) -> None:
        raise ValueError(f"invalid character '{name[0]}' looking for beginning of value")

    try:
        return json.loads(body, object_pairs_hook=pairs, parse_constant=constant)
    except ValueError as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from None


def _without_nulls(value: Any) -> Any:
    """A null is a field that is not given."""
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    if isinstance(value, list):
        return [_without_nulls(each) for each in value]
    return value


@functools.cache
def _validator(kind: str) -> Any:
    folder = f"kubernetes-json-schema/v{KUBERNETES_VERSION}.0-local-strict"
    file = {"Pod": "pod-v1", "DeleteOptions": "deleteoptions-meta-v1"}[kind]
    schema = schemas.schema_contents(f"{folder}/{file}.json", KUBERNETES_VERSION)
    definitions = schemas.schema_contents(f"{folder}/_definitions.json", KUBERNETES_VERSION)
    registry = Resource.from_contents(definitions) @ (Resource.from_contents(schema) @ Registry())
    base = jsonschema.validators.Draft202012Validator
    # JSON Schema takes 30.0 for an integer, the server does not.
    checker = base.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return jsonschema.validators.extend(base, type_checker=checker)(schema, registry=registry)


def _path(parts: Any) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _drop(item: Any, path: list[Any]) -> None:
    for part in path[:-1]:
        item = item[part]
    item.pop(path[-1], None)


def _amounts(item: Item) -> Iterator[tuple[str, dict[str, Any]]]:
    spec = item.get("spec", {})
    for path, container in containers_of(spec):
        for kind in ("limits", "requests"):
            yield f"{path}.resources.{kind}", (container.get("resources") or {}).get(kind) or {}
    for index, volume in enumerate(spec.get("volumes") or []):
        if "sizeLimit" in (volume.get("emptyDir") or {}):
            yield f"spec.volumes[{index}].emptyDir", {"sizeLimit": volume["emptyDir"]["sizeLimit"]}


def set_defaults(spec: Item) -> None:
    """Fill in what the server would."""
    for name, value in (
        ("restartPolicy", "Always"),
        ("dnsPolicy", "ClusterFirst"),
        ("schedulerName", "default-scheduler"),
        ("terminationGracePeriodSeconds", 30),
        ("securityContext", {}),
        ("enableServiceLinks", True),
    ):
        spec.setdefault(name, copy.deepcopy(value))
    for volume in spec.get("volumes") or []:
        if set(volume) == {"name"}:
            volume["emptyDir"] = {}
    for _, container in containers_of(spec):
        image = container.get("image") or ""
        latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
        container.setdefault("imagePullPolicy", "Always" if latest and "@" not in image else "IfNotPresent")
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        resources = container.setdefault("resources", {})
        for name, amount in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(name, amount)
        for variable in container.get("env") or []:
            reference = (variable.get("valueFrom") or {}).get("fieldRef")
            if reference is not None:
                reference.setdefault("apiVersion", "v1")


def _service_account(pod: Item, namespace: str, registered: Registered, dice: random.Random) -> None:
    spec = pod["spec"]
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    if (namespace, name) not in registered.service_accounts:
        raise forbidden(
            "pods",
            pod["metadata"].get("name", ""),
            f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found',
        )
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    mount = "/var/run/secrets/kubernetes.io/serviceaccount"
    containers = [container for _, container in containers_of(spec)]
    lacking = [
        each for each in containers if all(old.get("mountPath") != mount for old in each.get("volumeMounts") or [])
    ]
    if spec.get("automountServiceAccountToken") is not False and lacking:
        volume = f"kube-api-access-{''.join(dice.choices(string.ascii_lowercase, k=5))}"
        source = {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}
        spec.setdefault("volumes", []).append(
            {"name": volume, "projected": {"sources": [source], "defaultMode": 0o644}}
        )
        for container in lacking:
            container.setdefault("volumeMounts", []).append({"name": volume, "readOnly": True, "mountPath": mount})


def _priority(pod: Item, registered: Registered) -> None:
    spec, name = pod["spec"], pod["metadata"].get("name", "")
    wanted = spec.get("priorityClassName")
    if wanted and wanted not in registered.priority_classes:
        raise forbidden("pods", name, f"no PriorityClass with name {wanted} was found")
    found = registered.priority_classes[wanted] if wanted else PriorityClass(value=0)
    if spec.get("priority", found.value) != found.value:
        raise forbidden(
            "pods",
            name,
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {found.value} from the given PriorityClass name",
        )
    spec["priority"] = found.value
    spec.setdefault("preemptionPolicy", found.preemption)
    known = {each.get("key") for each in spec.get("tolerations") or []}
    added = [copy.deepcopy(each) for each in DEFAULT_TOLERATIONS if each["key"] not in known]
    spec["tolerations"] = [*(spec.get("tolerations") or []), *added]


def _frozen_part(spec: Item, original: Item) -> Item:
    """The part of a spec that no update may change, compared in one form."""
    spec = copy.deepcopy(spec)
    spec.pop("activeDeadlineSeconds", None)
    kept = original.get("tolerations") or []
    if (spec.get("tolerations") or [])[: len(kept)] == kept:
        spec.pop("tolerations", None)
    for _, container in containers_of(spec):
        if container.get("image"):
            container.pop("image")
    return {name: value for name, value in spec.items() if value not in (None, [], {})}


def _validate_metadata(metadata: Item, causes: Causes) -> None:
    name = metadata.get("name")
    if not name:
        causes.required("metadata.name", "name or generateName is required")
    else:
        _subdomain("metadata.name", name, causes)
    for key, value in (metadata.get("labels") or {}).items():
        if why := label_key_error(key):
            causes.invalid("metadata.labels", key, why)
        if why := label_value_error(value):
            causes.invalid("metadata.labels", value, why)
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        if why := label_key_error(key.lower()):
            causes.invalid("metadata.annotations", key, why)
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > 256 * 1024:
        causes.append(("FieldValueTooLong", "metadata.annotations", "Too long: may not be more than 262144 bytes"))
    for finalizer in metadata.get("finalizers") or []:
        if label_key_error(finalizer) or "/" not in finalizer:
            causes.invalid("metadata.finalizers", finalizer, "name is neither a standard finalizer name nor qualified")


def _subdomain(path: str, value: str, causes: Causes) -> None:
    if len(value) > 253:
        causes.invalid(path, value, "must be no more than 253 characters")
    elif not DNS_SUBDOMAIN.fullmatch(value):
        causes.invalid(path, value, DNS_SUBDOMAIN_WHY)


def _dns_label(path: str, value: str | None, causes: Causes) -> None:
    if not value:
        causes.required(path)
    elif len(value) > 63:
        causes.invalid(path, value, "must be no more than 63 characters")
    elif not DNS_LABEL.fullmatch(value):
        causes.invalid(path, value, DNS_LABEL_WHY)


def _validate_spec(spec: Item, causes: Causes) -> None:
    if not spec.get("containers"):
        causes.required("spec.containers")
    volumes = _validate_volumes(spec, causes)
    names: set[str] = set()
    for path, container in containers_of(spec):
        _dns_label(f"{path}.name", container.get("name"), causes)
        if container.get("name") in names:
            causes.duplicate(f"{path}.name", container["name"])
        names.add(container.get("name", ""))
        _validate_container(path, container, volumes, causes)
    for name, allowed in (
        ("restartPolicy", ["Always", "Never", "OnFailure"]),
        ("dnsPolicy", ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]),
        ("preemptionPolicy", ["Never", "PreemptLowerPriority"]),
    ):
        if name in spec and spec[name] not in allowed:
            causes.one_of(f"spec.{name}", spec[name], allowed)
    _validate_pod_fields(spec, causes)
    _validate_tolerations(spec, causes)


def _validate_pod_fields(spec: Item, causes: Causes) -> None:
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2**31 - 1:
        causes.invalid("spec.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    if spec["terminationGracePeriodSeconds"] < 0:
        spec["terminationGracePeriodSeconds"] = 1
    for name in ("serviceAccountName", "priorityClassName"):
        if spec.get(name):
            _subdomain(f"spec.{name}", spec[name], causes)
    if spec.get("hostname"):
        _dns_label("spec.hostname", spec["hostname"], causes)
    for key, value in (spec.get("nodeSelector") or {}).items():
        if why := label_key_error(key):
            causes.invalid("spec.nodeSelector", key, why)
        if why := label_value_error(value):
            causes.invalid("spec.nodeSelector", value, why)
    for name in ("runAsUser", "runAsGroup", "fsGroup"):
        if (spec.get("securityContext") or {}).get(name, 0) < 0:
            causes.invalid(
                f"spec.securityContext.{name}",
                spec["securityContext"][name],
                "must be between 0 and 2147483647, inclusive",
            )


def _validate_volumes(spec: Item, causes: Causes) -> set[str]:
    names: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        path = f"spec.volumes[{index}]"
        _dns_label(f"{path}.name", volume.get("name"), causes)
        if volume.get("name") in names:
            causes.duplicate(f"{path}.name", volume["name"])
        names.add(volume.get("name", ""))
        if len(set(volume) - {"name"}) > 1:
            causes.forbidden(path, "may not specify more than 1 volume type")
        limit = (volume.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and quantity(limit) < 0:
            causes.forbidden(f"{path}.emptyDir.sizeLimit", "SizeLimit field must be a valid resource quantity")
        for kind, key in (("secret", "secretName"), ("configMap", "name"), ("persistentVolumeClaim", "claimName")):
            if kind in volume and not volume[kind].get(key):
                causes.required(f"{path}.{kind}.{key}")
        if "hostPath" in volume and not volume["hostPath"].get("path"):
            causes.required(f"{path}.hostPath.path")
    return names


def _validate_container(path: str, container: Item, volumes: set[str], causes: Causes) -> None:
    image = container.get("image")
    if not image:
        causes.required(f"{path}.image")
    elif image != image.strip():
        causes.invalid(f"{path}.image", image, "must not have leading or trailing whitespace")
    if container["imagePullPolicy"] not in ("Always", "IfNotPresent", "Never"):
        causes.one_of(f"{path}.imagePullPolicy", container["imagePullPolicy"], ["Always", "IfNotPresent", "Never"])
    if container["terminationMessagePolicy"] not in ("File", "FallbackToLogsOnError"):
        causes.one_of(
            f"{path}.terminationMessagePolicy",
            container["terminationMessagePolicy"],
            ["File", "FallbackToLogsOnError"],
        )
    for index, variable in enumerate(container.get("env") or []):
        _validate_variable(f"{path}.env[{index}]", variable, causes)
    for index, source in enumerate(container.get("envFrom") or []):
        given = [name for name in ("secretRef", "configMapRef") if name in source]
        if len(given) != 1:
            causes.invalid(f"{path}.envFrom[{index}]", "", "must specify one of: `configMapRef` or `secretRef`")
        elif not source[given[0]].get("name"):
            causes.required(f"{path}.envFrom[{index}].{given[0]}.name")
    _validate_mounts(path, container, volumes, causes)
    _validate_resources(f"{path}.resources", container["resources"], causes)


def _validate_mounts(path: str, container: Item, volumes: set[str], causes: Causes) -> None:
    mounted: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or []):
        where = f"{path}.volumeMounts[{index}]"
        if not mount.get("name"):
            causes.required(f"{where}.name")
        elif mount["name"] not in volumes:
            causes.missing(f"{where}.name", mount["name"])
        if not mount.get("mountPath"):
            causes.required(f"{where}.mountPath")
        elif mount["mountPath"] in mounted:
            causes.invalid(f"{where}.mountPath", mount["mountPath"], "must be unique")
        elif ":" in mount["mountPath"]:
            causes.invalid(f"{where}.mountPath", mount["mountPath"], "must not contain ':'")
        mounted.add(mount.get("mountPath", ""))


def _validate_variable(path: str, variable: Item, causes: Causes) -> None:
    name = variable.get("name")
    if not name:
        causes.required(f"{path}.name")
    elif not ENV_NAME.fullmatch(name):
        causes.invalid(f"{path}.name", name, "a valid environment variable name must consist of alphabetic characters, "
                       "digits, '_', '-', or '.', and must not start with a digit")  # fmt: skip
    source = variable.get("valueFrom")
    if source is None:
        return
    if variable.get("value"):
        causes.invalid(f"{path}.valueFrom", "", "may not be specified when `value` is not empty")
    if len(source) != 1:
        causes.invalid(f"{path}.valueFrom", "", "must specify one of: `fieldRef`, `resourceFieldRef`, "
                       "`configMapKeyRef` or `secretKeyRef`")  # fmt: skip
    for kind in ("secretKeyRef", "configMapKeyRef"):
        for key in ("name", "key"):
            if kind in source and not source[kind].get(key):
                causes.required(f"{path}.valueFrom.{kind}.{key}")
    field_path = (source.get("fieldRef") or {}).get("fieldPath")
    if "fieldRef" in source and not FIELD_PATHS.fullmatch(field_path or ""):
        causes.invalid(f"{path}.valueFrom.fieldRef.fieldPath", field_path, "error converting fieldPath")


def _validate_resources(path: str, resources: Item, causes: Causes) -> None:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            where = f"{path}.{kind}[{name}]"
            native = name in NATIVE_RESOURCES or name.startswith("hugepages-")
            if why := label_key_error(name):
                causes.invalid(where, name, why)
            elif not native and "/" not in name:
                causes.invalid(where, name, "must be a standard resource for containers")
            value = quantity(amount)
            if value < 0:
                causes.invalid(where, amount, "must be greater than or equal to 0")
            elif not native and value != math.floor(value):
                causes.invalid(where, amount, "must be an integer")
    for name, amount in requests.items():
        where = f"{path}.requests"
        native = name in NATIVE_RESOURCES
        if name not in limits:
            if not native:
                causes.required(f"{path}.limits", "Limit must be set for non overcommitable resources")
        elif not native and quantity(amount) != quantity(limits[name]):
            causes.invalid(where, amount, f"must be equal to {name} limit of {limits[name]}")
        elif quantity(amount) > quantity(limits[name]):
            causes.invalid(where, amount, f"must be less than or equal to {name} limit of {limits[name]}")


def _validate_tolerations(spec: Item, causes: Causes) -> None:
    for index, toleration in enumerate(spec.get("tolerations") or []):
        path = f"spec.tolerations[{index}]"
        key, operator, effect = (toleration.get(name, "") for name in ("key", "operator", "effect"))
        if key and (why := label_key_error(key)):
            causes.invalid(f"{path}.key", key, why)
        if not key and operator != "Exists":
            causes.invalid(
                f"{path}.operator",
                operator,
                'operator must be Exists when `key` is empty, which means "match all values and all keys"',
            )
        if operator not in ("", "Equal", "Exists"):
            causes.one_of(f"{path}.operator", operator, ["Equal", "Exists"])
        if operator == "Exists" and toleration.get("value"):
            causes.invalid(f"{path}.operator", toleration["value"], "value must be empty when `operator` is 'Exists'")
        if operator in ("", "Equal") and (why := label_value_error(toleration.get("value", ""))):
            causes.invalid(f"{path}.operator", toleration["value"], why)
        if effect not in ("", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            causes.one_of(f"{path}.effect", effect, ["NoSchedule", "PreferNoSchedule", "NoExecute"])
        if "tolerationSeconds" in toleration and effect != "NoExecute":
            causes.invalid(f"{path}.effect", effect, "effect must be 'NoExecute' when `tolerationSeconds` is set")


def _qos_class(spec: Item) -> str:
    every = [container["resources"] for _, container in containers_of(spec)]
    if not any(each.get("limits") or each.get("requests") for each in every):
        return "BestEffort"
    whole = all(
        {"cpu", "memory"} <= set(each.get("limits") or {})
        and all(quantity(each["requests"][name]) == quantity(each["limits"][name]) for name in ("cpu", "memory"))
        for each in every
    )
    return "Guaranteed" if whole else "Burstable"
