"""What goes to the cluster: valid for the API servers that it may meet, and in agreement with the code's own names."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import kubernetes_validate
import pytest

from include.base.settings import Settings
from include.domain.title.title import Tier
from include.orchestration.runtimes.kubernetes.spec import OURS, POOL_LABEL
from tests.deploy.manifests import ROOT, named, objects, values, values_environment

VERSIONS = ("1.30", kubernetes_validate.latest_version())
"""The oldest that chart 1.22.0 supports, and the newest whose schemas are installed."""
CLUSTER_WIDE = {"Namespace", "PriorityClass", "ClusterRole", "ClusterRoleBinding"}
SETTINGS = Settings()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("name", "manifest"), objects(), ids=[name for name, _ in objects()])
def test_a_manifest_is_valid(name: str, manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_kind_of_manifest_was_found() -> None:
    assert {manifest["kind"] for _, manifest in objects()} == CLUSTER_WIDE | {
        "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "ResourceQuota", "LimitRange",
    }  # fmt: skip


def test_every_object_lies_in_a_namespace_that_is_made() -> None:
    made = {manifest["metadata"]["name"] for _, manifest in objects() if manifest["kind"] == "Namespace"}

    assert SETTINGS.worker_namespace in made
    for name, manifest in objects():
        assert (manifest["kind"] in CLUSTER_WIDE) == ("namespace" not in manifest["metadata"]), name
        assert manifest["metadata"].get("namespace", "airflow") in made


def test_every_tier_has_a_priority_class_in_the_order_of_the_tiers_that_never_kills_another_encode() -> None:
    classes = [named("PriorityClass", f"callsheet-{tier.value}") for tier in (Tier.PREMIUM, Tier.STANDARD, Tier.UGC)]

    assert len(classes) == len(Tier)
    assert [each["value"] for each in classes] == sorted((each["value"] for each in classes), reverse=True)
    assert {each["preemptionPolicy"] for each in classes} == {"Never"}
    control = named("PriorityClass", "callsheet-control")
    assert control["value"] > max(each["value"] for each in classes)
    components = ("scheduler", "triggerer", "dagProcessor", "apiServer")
    assert {values()[each]["priorityClassName"] for each in components} == {"callsheet-control"}


def test_airflow_keeps_away_from_the_nodes_for_encodes_and_ends_none_for_its_own_room() -> None:
    away = {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": POOL_LABEL, "operator": "DoesNotExist"}]}]
        }
    }

    assert values()["affinity"] == {"nodeAffinity": away}
    own = {name: part["affinity"] for name, part in values().items() if isinstance(part, dict) and "affinity" in part}
    # The chart takes a component's own affinity instead of the common one.
    assert own.keys() == {
        name for name, part in values().items() if isinstance(part, dict) and part.get("replicas") == 2
    }
    for name, affinity in own.items():
        assert affinity["nodeAffinity"] == away
        (apart,) = affinity["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        component = apart["podAffinityTerm"]["labelSelector"]["matchLabels"]["component"]
        assert component.replace("-", "") == name.lower()
    assert not any("nodeSelector" in part for part in (values(), *values().values()) if isinstance(part, dict))


def test_airflow_may_run_pods_and_nothing_else() -> None:
    role = {rule["resources"][0]: rule["verbs"] for rule in named("Role", "callsheet-pods")["rules"]}

    # What the operator, its trigger and its hooks ask of the API: no secrets, and nothing executed inside a pod.
    assert role == {
        "pods": ["create", "delete", "get", "list", "patch", "watch"],
        "pods/log": ["get"],
        "events": ["get", "list", "watch"],
    }
    assert [rule["verbs"] for rule in named("ClusterRole", "callsheet-nodes")["rules"]] == [["get", "list"]]
    assert values()["allowPodLaunching"] is False, "the chart's own role would come on top"


def test_the_rights_are_those_of_the_accounts_that_the_chart_makes() -> None:
    accounts = [values()[each]["serviceAccount"]["name"] for each in ("scheduler", "triggerer")]

    for kind, name in (("RoleBinding", "callsheet-pods"), ("ClusterRoleBinding", "callsheet-nodes")):
        subjects = named(kind, name)["subjects"]
        assert [(each["kind"], each["name"], each["namespace"]) for each in subjects] == [
            ("ServiceAccount", account, "airflow") for account in accounts
        ]


def test_a_worker_has_no_rights_and_no_token() -> None:
    account = named("ServiceAccount", SETTINGS.worker_service_account)

    assert account["metadata"]["namespace"] == SETTINGS.worker_namespace
    assert account["automountServiceAccountToken"] is False
    bound = [each for _, manifest in objects() for each in manifest.get("subjects", [])]
    assert SETTINGS.worker_service_account not in {each["name"] for each in bound}
    namespace = named("Namespace", SETTINGS.worker_namespace)
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_worker_reaches_dns_and_public_https_alone_and_nobody_reaches_it() -> None:
    policies = [
        manifest["spec"]
        for _, manifest in objects()
        if manifest["kind"] == "NetworkPolicy" and manifest["metadata"]["name"] != "pod-identity"
    ]

    assert any(
        each["podSelector"] == {} and set(each["policyTypes"]) == {"Ingress", "Egress"} and "egress" not in each
        for each in policies
    ), "what no policy allows is refused"
    assert not any("ingress" in each for each in policies)
    rules = [rule for each in policies for rule in each.get("egress", [])]
    assert {port["port"] for rule in rules for port in rule["ports"]} == {53, 443}
    blocks = [peer["ipBlock"] for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    allowed = [ipaddress.ip_network(block["cidr"]) for block in blocks]
    refused = [ipaddress.ip_network(each) for block in blocks for each in block.get("except", [])]
    # A cluster's own addresses, the metadata service that hands out a node's credentials, the API server's usual one.
    for address in ("10.96.0.1", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "fd00:ec2::254"):
        inside = ipaddress.ip_address(address)
        assert any(inside in each for each in refused) or not any(inside in each for each in allowed), address
    assert any(ipaddress.ip_address("52.216.1.1") in each for each in allowed)


def test_a_worker_with_pod_identity_reaches_its_agent_as_well_and_no_other_address_of_its_node() -> None:
    policy = named("NetworkPolicy", "pod-identity")

    assert policy["spec"]["podSelector"]["matchLabels"].items() <= OURS.items(), "it holds for worker pods"
    assert policy["spec"]["egress"] == [
        {
            "to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}, {"ipBlock": {"cidr": "fd00:ec2::23/128"}}],
            "ports": [{"protocol": "TCP", "port": 80}],
        }
    ]


def test_the_chart_makes_no_user_with_a_password_that_everybody_knows() -> None:
    # Chart 1.22.0 has `createUserJob.enabled`; its `defaultUser` is a mapping of names and a password, with no switch.
    assert values()["createUserJob"] == {"enabled": False}


def test_a_retry_after_running_out_of_memory_fits_the_limits() -> None:
    (limits,) = named("LimitRange", "workers")["spec"]["limits"]
    most = int(values_environment()["CALLSHEET_MAX_MEMORY_MB"])

    assert most <= gibibytes(limits["max"]["memory"]) * 1024
    quota = named("ResourceQuota", "workers")["spec"]["hard"]
    assert most <= gibibytes(quota["limits.memory"]) * 1024
    slots = int(values_environment()["CALLSHEET_ENCODE_SLOTS"]) + int(values_environment()["CALLSHEET_GPU_SLOTS"])
    assert slots <= int(quota["pods"]) * 3 / 4, "what the quota refuses waits in no order"


def test_settings_load_from_the_chart_s_environment_for_kubernetes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in values_environment().items():
        if name.startswith("CALLSHEET_"):
            monkeypatch.setenv(name, value)

    loaded = Settings()

    assert (loaded.runtime, loaded.worker_namespace) == ("kubernetes", SETTINGS.worker_namespace)
    assert loaded.worker_image.rpartition(":")[2] == values()["defaultAirflowTag"], "both images are of one version"


def test_every_secret_that_the_chart_wants_is_made_in_the_guide() -> None:
    guide = (ROOT / "docs/deploy.md").read_text()
    chosen = values()
    wanted = {(each["secretName"], each["secretKey"]) for each in chosen["secret"]}
    wanted |= {
        (chosen["data"]["metadataSecretName"], "connection"),
        (chosen["fernetKeySecretName"], "fernet-key"),
        (chosen["apiSecretKeySecretName"], "api-secret-key"),
        (chosen["jwtSecretName"], "jwt-secret"),
    }

    for name, key in sorted(wanted):
        made = re.search(rf"create secret generic {name}\b((?:.*\\\n)*.*)", guide)
        assert made, f"{name} is not made"
        assert f"--from-literal={key}=" in made[1], f"{name} has no key {key}"


def test_every_file_that_the_guide_names_is_there() -> None:
    named_files = set(
        re.findall(r"\b((?:deploy|docker|docs)/[\w./-]+\.(?:yaml|md|py|Dockerfile|sql|txt))", guide_texts())
    )

    assert len(named_files) > 8
    assert [each for each in sorted(named_files) if not (ROOT / each).exists()] == []


def guide_texts() -> str:
    return "".join((ROOT / path).read_text() for path in ("docs/deploy.md", "deploy/gpu-node-pool.md"))


def gibibytes(quantity: str) -> int:
    assert quantity.endswith("Gi")
    return int(quantity.removesuffix("Gi"))
