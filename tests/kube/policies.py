"""What an administrator lays down in manifests: quotas, limit ranges, pod security, roles.

Read from files as ``kubectl apply`` takes them, so that pods meet the rules of the project's own ``deploy/``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from tests.kube.selectors import canonical, quantity
from tests.kube.status import forbidden

Item = dict[str, Any]

SAFE_VOLUMES = {
    "name",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
RBAC = "rbac.authorization.k8s.io"
PROFILES = ("RuntimeDefault", "Localhost")


class Policies:
    """The rules of every namespace."""

    def __init__(self, manifests: Iterable[Path] = (), account: str = "airflow:callsheet-scheduler") -> None:
        self.items: dict[str, list[Item]] = defaultdict(list)
        """Manifests by kind."""
        for path in manifests:
            for item in yaml.safe_load_all(path.read_text()):
                if item:
                    self.items[item["kind"]].append(item)
        self.account = account
        """Namespace and name of the service account that asks."""
        self.user = f"system:serviceaccount:{account}"
        self.bind()

    def bind(self) -> None:
        """Find what the account may by the roles and bindings as they are now."""
        self._rules = list(self._granted())

    def _is_account(self, subject: Item) -> bool:
        """Whether a binding's subject is the account: itself, as a user, or by one of its groups."""
        namespace, _, name = self.account.partition(":")
        if subject["kind"] == "ServiceAccount":
            return (subject.get("apiGroup", ""), subject.get("namespace"), subject["name"]) == ("", namespace, name)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        known = {"User": (self.user,), "Group": groups}.get(subject["kind"], ())
        return subject.get("apiGroup", RBAC) == RBAC and subject["name"] in known

    def _granted(self) -> Iterator[tuple[str | None, Item]]:
        """(namespace or None for all, rule) for the account; a binding to a role that is not there grants nothing."""
        roles = {
            (kind, item["metadata"].get("namespace"), item["metadata"]["name"]): item["rules"]
            for kind in ("Role", "ClusterRole")
            for item in self.items[kind]
        }
        for kind in ("RoleBinding", "ClusterRoleBinding"):
            for binding in self.items[kind]:
                if any(self._is_account(subject) for subject in binding.get("subjects") or []):
                    namespace = binding["metadata"].get("namespace")
                    role = binding["roleRef"]
                    where = namespace if role["kind"] == "Role" else None
                    if role["apiGroup"] == RBAC:
                        for rule in roles.get((role["kind"], where, role["name"]), ()):
                            yield namespace, rule

    def allows(self, verb: str, resource: str, namespace: str | None, name: str = "") -> bool:
        """Whether the account may; without any role in the manifests it may everything.

        ``name`` is the object's, or that of a field selector; a rule for names does not hold for a request without one.
        """
        if not self.items["Role"] and not self.items["ClusterRole"]:
            return True
        return any(
            where in (None, namespace)
            and {"", "*"} & set(rule["apiGroups"])
            and {resource, "*"} & set(rule["resources"])
            and {verb, "*"} & set(rule["verbs"])
            and (not rule.get("resourceNames") or name in rule["resourceNames"])
            for where, rule in self._rules
        )

    def set_limits(self, pod: Item) -> None:
        """The defaults of the namespace's limit ranges. Unsaid, a limit is the maximum, a request the limit."""
        for limit in self._limits(pod):
            default = {**(limit.get("max") or {}), **(limit.get("default") or {})}
            requested = {**(limit.get("min") or {}), **default, **(limit.get("defaultRequest") or {})}
            for _, container in containers_of(pod["spec"]):
                resources = container.setdefault("resources", {})
                for name, amount in default.items():
                    resources.setdefault("limits", {}).setdefault(name, canonical(amount))
                for name, amount in requested.items():
                    resources.setdefault("requests", {}).setdefault(name, canonical(amount))

    def check(self, pod: Item) -> None:
        """403 where a limit range or the namespace's pod security level refuses the pod."""
        name = pod["metadata"]["name"]
        for limit in self._limits(pod):
            for _, container in containers_of(pod["spec"]):
                amounts = container["resources"].get("limits") or {}
                for resource, most in (limit.get("max") or {}).items():
                    if quantity(amounts[resource]) > quantity(most):
                        why = f"maximum {resource} usage per Container is {most}, but limit is {amounts[resource]}"
                        raise forbidden("pods", name, why)
        level = self._security_level(pod["metadata"]["namespace"])
        wrong = list(violations(pod["spec"], level))
        if wrong:
            raise forbidden("pods", name, f'violates PodSecurity "{level}:latest": {", ".join(wrong)}')

    def check_quota(self, pod: Item, others: list[Item]) -> None:
        """403 where the namespace's quota has no room for the pod; finished pods do not count."""
        live = [other for other in others if other["status"]["phase"] not in ("Succeeded", "Failed")]
        for quota in self._of("ResourceQuota", pod["metadata"]["namespace"]):
            label, name = quota["metadata"]["name"], pod["metadata"]["name"]
            hard = {key: amount for key, amount in quota["spec"]["hard"].items() if _concerns_pods(key)}
            for key in sorted(hard):
                kind, _, resource = key.partition(".")
                unsaid = [
                    container["name"]
                    for container in pod["spec"]["containers"]
                    if resource in ("cpu", "memory") and resource not in (container["resources"].get(kind) or {})
                ]
                if unsaid:
                    why = f"failed quota: {label}: must specify {key} for: {','.join(unsaid)}"
                    raise forbidden("pods", name, why)
            requested = {key: _charge(pod["spec"], key) for key in hard}
            used = {key: sum((_charge(other["spec"], key) for other in live), Decimal(0)) for key in hard}
            exceeded = [key for key in sorted(hard) if used[key] + requested[key] > quantity(hard[key])]
            if exceeded:
                parts = [
                    f"{word}: " + ",".join(f"{key}={shown(key, amounts[key])}" for key in exceeded)
                    for word, amounts in (("requested", requested), ("used", used), ("limited", hard))
                ]
                raise forbidden("pods", name, f"exceeded quota: {label}, {', '.join(parts)}")

    def _of(self, kind: str, namespace: str) -> list[Item]:
        return [item for item in self.items[kind] if item["metadata"]["namespace"] == namespace]

    def _limits(self, pod: Item) -> list[Item]:
        ranges = self._of("LimitRange", pod["metadata"]["namespace"])
        return [limit for item in ranges for limit in item["spec"]["limits"] if limit["type"] == "Container"]

    def _security_level(self, namespace: str) -> str:
        for item in self.items["Namespace"]:
            if item["metadata"]["name"] == namespace:
                labels = item["metadata"].get("labels") or {}
                return str(labels.get("pod-security.kubernetes.io/enforce", "privileged"))
        return "privileged"


def shown(key: str, amount: Decimal | str) -> str:
    """An amount of a quota's key in the server's messages."""
    if isinstance(amount, str):
        return canonical(amount)
    in_bytes = key.endswith(("memory", "storage")) and amount >= 1024
    return canonical(f"{int(amount) // 1024}Ki") if in_bytes and amount % 1024 == 0 else canonical(str(amount))


def effective_requests(spec: Item) -> dict[str, Decimal]:
    """What the scheduler reserves: the sum of the containers, or the largest init container."""
    total: dict[str, Decimal] = {}
    for container in spec["containers"]:
        for name, amount in (container.get("resources", {}).get("requests") or {}).items():
            total[name] = total.get(name, Decimal(0)) + quantity(amount)
    for container in spec.get("initContainers") or []:
        for name, amount in (container.get("resources", {}).get("requests") or {}).items():
            total[name] = max(total.get(name, Decimal(0)), quantity(amount))
    return total


def containers_of(spec: Item) -> Iterator[tuple[str, Item]]:
    """Every container with its path."""
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or []):
            yield f"spec.{kind}[{index}]", container


def _concerns_pods(key: str) -> bool:
    return key in ("pods", "count/pods") or key.startswith(("requests.", "limits."))


def _charge(spec: Item, key: str) -> Decimal:
    """What a pod takes of one of a quota's keys: ``pods``, ``requests.cpu``, ``limits.memory`` or alike."""
    if key in ("pods", "count/pods"):
        return Decimal(1)
    kind, _, resource = key.partition(".")
    if kind == "requests":
        return effective_requests(spec).get(resource, Decimal(0))
    amounts = [(container["resources"].get(kind) or {}).get(resource, "0") for container in spec["containers"]]
    return sum((quantity(amount) for amount in amounts), Decimal(0))


def violations(spec: Item, level: str) -> Iterator[str]:
    """What the Pod Security Standards of this level find wrong in a pod's spec."""
    if level == "privileged":
        return
    pod = spec.get("securityContext") or {}
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"host namespaces ({name}=true)"
    volumes = spec.get("volumes") or []
    if any("hostPath" in volume for volume in volumes):
        yield "hostPath volumes"
    elif level == "restricted" and any(set(volume) - SAFE_VOLUMES for volume in volumes):
        yield "restricted volume types"
    for _, container in containers_of(spec):
        own, named = container.get("securityContext") or {}, f'container "{container["name"]}"'
        if own.get("privileged"):
            yield f"privileged ({named} must not set securityContext.privileged=true)"
        if level == "restricted":
            yield from _restricted(pod, own, named)


def _restricted(pod: Item, own: Item, named: str) -> Iterator[str]:
    capabilities = own.get("capabilities") or {}
    if own.get("allowPrivilegeEscalation") is not False:
        yield (f"allowPrivilegeEscalation != false ({named} must set securityContext.allowPrivilegeEscalation=false)")
    if "ALL" not in (capabilities.get("drop") or []) or set(capabilities.get("add") or []) - {"NET_BIND_SERVICE"}:
        yield f'unrestricted capabilities ({named} must set securityContext.capabilities.drop=["ALL"])'
    if own.get("runAsNonRoot", pod.get("runAsNonRoot")) is not True:
        yield f"runAsNonRoot != true (pod or {named} must set securityContext.runAsNonRoot=true)"
    if own.get("runAsUser", pod.get("runAsUser")) == 0:
        yield f"runAsUser=0 (pod or {named} must not set runAsUser=0)"
    profile = (own.get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
    if profile not in PROFILES:
        yield (
            f"seccompProfile (pod or {named} must set securityContext.seccompProfile.type to "
            '"RuntimeDefault" or "Localhost")'
        )
