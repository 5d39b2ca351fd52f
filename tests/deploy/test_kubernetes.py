"""The Kubernetes manifests: rendered by kubectl, held to the API's schemas and to rules."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from jobs.messages.queue import SOFT_SHUTDOWN_SECONDS
from jobs.settings import Settings
from tests.deploy.compose import ROOT, render

KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("production", "dev")
CUSTOM = {"ScaledObject"}  # KEDA's; Kubernetes has no schema of it
Manifest = dict[str, Any]


@cache
def manifests(overlay: str) -> list[Manifest]:
    """Everything that an overlay applies."""
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [str(kubectl), "kustomize", str(KUBERNETES / "overlays" / overlay)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # of what is deprecated, it warns
    return list(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> dict[str, Manifest]:
    """The manifests of some kinds, by name."""
    return {m["metadata"]["name"]: m for m in manifests(overlay) if m["kind"] in kinds}


def pods(overlay: str) -> dict[str, Manifest]:
    """The specifications of all pods, by the name of what makes them."""
    makers = of_kind(overlay, "Deployment", "StatefulSet", "Job")
    return {name: maker["spec"]["template"]["spec"] for name, maker in makers.items()}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_is_one_that_kubernetes_knows(overlay: str) -> None:
    version = kubernetes_validate.latest_version()
    for manifest in manifests(overlay):
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_field_would_be_noticed() -> None:
    broken = {**of_kind("dev", "Service")["slimgpt-api"], "spec": {"port": 80}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_keeps_to_the_restricted_profile(overlay: str) -> None:
    assert of_kind(overlay, "Namespace")["slimgpt"]["metadata"]["labels"][
        "pod-security.kubernetes.io/enforce"
    ] == "restricted"  # fmt: skip
    for name, pod in pods(overlay).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name
            assert re.search(r":\d[\w.-]*$", container["image"]), container["image"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whatever_lives_on_is_probed_and_waits_for_the_check(overlay: str) -> None:
    for name, maker in of_kind(overlay, "Deployment").items():
        pod = maker["spec"]["template"]["spec"]
        (check,), (container,) = pod["initContainers"], pod["containers"]
        assert check["command"] == ["slimgpt", "config", "check"], name
        assert check["image"] == container["image"]
        assert check["envFrom"] == container["envFrom"]
        assert {"startupProbe", "livenessProbe"} <= set(container), name
        # What the check asks to be writable is on no read-only root.
        assert "/var/lib/slimgpt/work" in [m["mountPath"] for m in check["volumeMounts"]], name
    for name, maker in of_kind(overlay, "StatefulSet").items():
        assert "readinessProbe" in maker["spec"]["template"]["spec"]["containers"][0], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_their_pods(overlay: str) -> None:
    labels = {
        name: maker["spec"]["template"]["metadata"]["labels"]
        for name, maker in of_kind(overlay, "Deployment", "StatefulSet", "Job").items()
    }

    def found(wanted: dict[str, str]) -> list[str]:
        return [n for n, has in labels.items() if wanted.items() <= has.items()]

    for name, service in of_kind(overlay, "Service").items():
        assert found(service["spec"]["selector"]) == [name]
    for name, budget in of_kind(overlay, "PodDisruptionBudget").items():
        assert found(budget["spec"]["selector"]["matchLabels"]) == [name]
    for name, maker in of_kind(overlay, "Deployment", "StatefulSet").items():
        assert found(maker["spec"]["selector"]["matchLabels"]) == [name]
    for policy in of_kind(overlay, "NetworkPolicy").values():
        assert found(policy["spec"]["podSelector"].get("matchLabels", {}))


def test_every_volume_and_every_secret_that_is_named_is_there() -> None:
    there = set(of_kind("dev", "Secret", "ConfigMap", "PersistentVolumeClaim"))
    for name, pod in pods("dev").items():
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])} | {"data": {}}
        claims = {v["persistentVolumeClaim"]["claimName"] for v in volumes.values()
                  if "persistentVolumeClaim" in v}  # fmt: skip
        named = set()
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes), name
            for source in container.get("envFrom", []):
                named |= {reference["name"] for reference in source.values()}
            sources = [variable.get("valueFrom", {}) for variable in container.get("env", [])]
            keys = [source["secretKeyRef"] for source in sources if source]
            named |= {key["name"] for key in keys if not key.get("optional")}
        assert named | claims <= there, name


def test_settings_are_settings() -> None:
    for overlay in OVERLAYS:
        made = of_kind(overlay, "ConfigMap", "Secret").values()
        names = {name for source in made for name in source.get("data", {})}
        env = [c.get("env", []) for pod in pods(overlay).values() for c in pod["containers"]]
        names |= {variable["name"] for variables in env for variable in variables}
        ours = {n.removeprefix("SLIMGPT_").lower() for n in names if n.startswith("SLIMGPT_")}
        assert ours <= set(Settings.model_fields)


def test_limits_by_address_mean_the_clients_of_the_ingress() -> None:
    (configuration,) = of_kind("production", "ConfigMap").values()
    peers = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        peers.append(scope["client"][0])

    door = ProxyHeadersMiddleware(app, configuration["data"]["FORWARDED_ALLOW_IPS"])
    said = [(b"x-forwarded-for", b"203.0.113.9, 198.51.100.7")]  # the first is the client's claim
    for peer in ("10.1.2.3", "192.0.2.1"):  # the Ingress, somebody else
        scope: Any = {"type": "http", "client": (peer, 1), "headers": said}
        asyncio.run(door(scope, None, None))  # type: ignore[arg-type]
    assert peers == ["198.51.100.7", "192.0.2.1"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_has_time_to_give_its_job_back(overlay: str) -> None:
    needed = SOFT_SHUTDOWN_SECONDS + Settings.model_fields["engine_stop_seconds"].default
    assert pods(overlay)["slimgpt-worker"]["terminationGracePeriodSeconds"] >= needed + 15


def test_a_worker_in_production_has_one_gpu() -> None:
    (worker,) = pods("production")["slimgpt-worker"]["containers"]
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "SLIMGPT_DEVICE", "value": "cuda"} in worker["env"]


def test_the_gpus_of_one_job_have_memory_in_common() -> None:
    pod = pods("production")["slimgpt-worker"]
    (shared,) = [volume for volume in pod["volumes"] if volume["name"] == "shm"]
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
    mounts = pod["containers"][0]["volumeMounts"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in mounts


def test_workers_are_scaled_by_jobs_that_wait_or_run() -> None:
    deployment = of_kind("production", "Deployment")["slimgpt-worker"]
    assert "replicas" not in deployment["spec"]  # KEDA's to say
    scaled = of_kind("production", "ScaledObject")["slimgpt-worker"]["spec"]
    assert scaled["scaleTargetRef"] == {"name": "slimgpt-worker"}
    (trigger,) = scaled["triggers"]
    asked = set(re.search(r'status=~"([^"]+)"', trigger["metadata"]["query"])[1].split("|"))  # type: ignore[index]
    assert asked == {"queued", "running", "cancelling"}
    assert trigger["metadata"]["threshold"] == "1"  # a worker does one job at a time


def test_the_stores_run_as_in_the_compose_file() -> None:
    services = render(())["services"]
    for name in ("postgres", "redis", "s3"):
        (container,) = pods("dev")[name]["containers"]
        assert container["image"] == services[name]["image"]
        assert pods("dev")[name]["securityContext"]["runAsUser"] == int(
            services[name]["user"].split(":")[0]
        )
    weed = set(pods("dev")["s3"]["containers"][0]["command"][1:])
    composed = set(services["s3"]["command"])
    assert {word for word in weed ^ composed if "volumeSizeLimitMB" not in word} == set()
