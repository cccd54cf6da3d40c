"""The Kubernetes manifests, as far as they can be tested without a cluster."""

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from shared.grpc_server.health import LIVENESS
from shared.grpc_server.server import DRAIN_SECONDS
from shared.settings import PREFIX, Settings

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
BASE = FOLDER / "base"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
EXAMPLE: dict[str, Any] = yaml.safe_load((FOLDER / "example/kustomization.yaml").read_text())
RESOURCES: list[dict[str, Any]] = [
    resource
    for name in KUSTOMIZATION["resources"]
    for resource in yaml.safe_load_all((BASE / name).read_text())
]
# The oldest version in which everything that is used is on by default, and the newest known one.
VERSIONS = "1.29", kubernetes_validate.latest_version()
SERVICES = {"agents": ("TANDEM_AGENT_ADDRESS", "50051"), "tasks": ("TANDEM_TASK_ADDRESS", "50052")}


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    """The resources of a kind, by name."""
    found = (each for each in RESOURCES if each["kind"] == kind)
    return {each["metadata"]["name"]: each for each in found}


def pods() -> dict[str, dict[str, Any]]:
    """The templates of pods, by the name of what makes them."""
    made = {**of_kind("Deployment"), **of_kind("Job")}
    return {name: each["spec"]["template"] for name, each in made.items()}


def environment(pod: dict[str, Any]) -> dict[str, str]:
    (container,) = pod["spec"]["containers"]
    return {each["name"]: each["value"] for each in container["env"]}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    "resource", RESOURCES, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}"
)
def test_each_resource_is_one_of_kubernetes(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


def test_what_is_wrong_is_found() -> None:
    broken = {**of_kind("Service")["tandem-agents"], "spec": {"clusterIp": "None"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


def test_every_setting_that_is_passed_exists() -> None:
    known = {PREFIX + name.upper() for name in Settings.__dataclass_fields__}
    (config,) = KUSTOMIZATION["configMapGenerator"]
    passed = {name for pod in pods().values() for name in environment(pod)}
    passed |= {literal.partition("=")[0] for literal in config["literals"]}
    assert {name.removesuffix("_FILE") for name in passed} <= known


def test_secrets_are_files_that_the_installation_has() -> None:
    generated = {
        secret["name"]: {Path(file).name for file in secret["files"]}
        for secret in EXAMPLE["secretGenerator"]
    }
    used: dict[str, set[str]] = {}
    for pod in pods().values():
        secrets = {v["name"]: v["secret"] for v in pod["spec"]["volumes"] if "secret" in v}
        (container,) = pod["spec"]["containers"]
        (mount,) = (each for each in container["volumeMounts"] if each["name"] in secrets)
        files = [Path(v) for n, v in environment(pod).items() if n.endswith("_FILE")]
        assert {str(file.parent) for file in files} == {mount["mountPath"]}
        name = secrets[mount["name"]]["secretName"]
        used.setdefault(name, set()).update(file.name for file in files)
    assert used == generated


def test_only_the_migration_has_the_owner_of_the_tables() -> None:
    have = {
        name for name, pod in pods().items() if "TANDEM_DATABASE_OWNER_URL_FILE" in environment(pod)
    }
    assert have == {"tandem-migrate"}


def test_no_container_is_root_or_writes_to_its_image() -> None:
    for pod in pods().values():
        spec = pod["spec"]
        (container,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert not spec["automountServiceAccountToken"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@pytest.mark.parametrize("service", SERVICES)
def test_ports_probes_and_addresses_agree(service: str) -> None:
    variable, port = SERVICES[service]
    pod = pods()[f"tandem-{service}"]
    (container,) = pod["spec"]["containers"]
    assert environment(pod)[variable] == f"0.0.0.0:{port}"
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert str(ports["grpc"]) == port
    metrics = environment(pod)[variable.replace("ADDRESS", "METRICS_ADDRESS")]
    assert metrics == f"0.0.0.0:{ports['metrics']}"
    probes = {
        kind: container[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")
    }
    alive = {"port": int(port), "service": LIVENESS}
    assert probes == {"startup": alive, "liveness": alive, "readiness": {"port": int(port)}}
    (exposed,) = of_kind("Service")[f"tandem-{service}"]["spec"]["ports"]
    assert (str(exposed["port"]), exposed["targetPort"]) == (port, "grpc")
    assert of_kind("Service")[f"tandem-{service}"]["spec"]["clusterIP"] == "None"


def test_the_task_service_calls_the_agent_service() -> None:
    address = environment(pods()["tandem-tasks"])["TANDEM_AGENT_ADDRESS"]
    name, _, port = address.partition(":")
    assert str(of_kind("Service")[name]["spec"]["ports"][0]["port"]) == port


@pytest.mark.parametrize("service", SERVICES)
def test_a_stop_has_the_time_that_it_takes(service: str) -> None:
    spec = pods()[f"tandem-{service}"]["spec"]
    assert spec["terminationGracePeriodSeconds"] > Settings.shutdown_delay + DRAIN_SECONDS


@pytest.mark.parametrize("service", SERVICES)
def test_all_selectors_choose_pods_of_the_service(service: str) -> None:
    name = f"tandem-{service}"
    labels = pods()[name]["metadata"]["labels"].items()
    selectors = [
        of_kind("Deployment")[name]["spec"]["selector"]["matchLabels"],
        of_kind("Service")[name]["spec"]["selector"],
        of_kind("PodDisruptionBudget")[name]["spec"]["selector"]["matchLabels"],
        of_kind("NetworkPolicy")[name]["spec"]["podSelector"]["matchLabels"],
        of_kind("NetworkPolicy")["tandem"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels for selector in selectors)
    target = of_kind("HorizontalPodAutoscaler")[name]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", name)


def test_the_database_can_take_the_connections_of_all_pods() -> None:
    most = sum(
        each["spec"]["maxReplicas"] + 1 for each in of_kind("HorizontalPodAutoscaler").values()
    )
    assert most * Settings.pool_size <= 100  # PostgreSQL's max_connections, unless it is set


def test_the_image_is_named_once() -> None:
    images = {pod["spec"]["containers"][0]["image"] for pod in pods().values()}
    assert images == {image["name"] for image in EXAMPLE["images"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", image["newTag"]) for image in EXAMPLE["images"])
