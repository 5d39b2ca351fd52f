"""The component for prometheus-operator, whose kinds Kubernetes has no schemas of, and the pod that
models are copied through."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.compose import ROOT

DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
Manifest = dict[str, Any]


def rendered(overlay: str, folder: Path) -> list[Manifest]:
    """What an overlay applies with the component beside its own."""
    shutil.copytree(KUBERNETES / "overlays" / overlay, folder / overlay)
    path = folder / overlay / "kustomization.yaml"
    made = yaml.safe_load(path.read_text())
    here = Path(os.path.relpath(KUBERNETES / "overlays" / overlay, folder.resolve() / overlay))
    for field in ("resources", "components"):
        made[field] = [f"{here / name}" if name.startswith("..") else name for name in made[field]]
    made["components"].append(f"{here}/../../components/monitoring")
    path.write_text(yaml.safe_dump(made))
    kubectl = Path(sys.executable).with_name("kubectl")
    command = [str(kubectl), "kustomize", str(folder / overlay)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("overlay", ["production", "dev"])
def test_every_pod_with_metrics_is_scraped_under_the_names_that_alerts_go_by(
    overlay: str, tmp_path: Path
) -> None:
    manifests = rendered(overlay, tmp_path)
    pods = [m["spec"]["template"] for m in manifests if m["kind"] == "Deployment"]
    secrets = {m["metadata"]["name"] for m in manifests if m["kind"] == "Secret"}
    scraped = {}
    for monitor in (m for m in manifests if m["kind"] == "PodMonitor"):
        assert monitor["metadata"]["namespace"] == "slimgpt"
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (pod,) = [pod for pod in pods if wanted <= pod["metadata"]["labels"].items()]
        ports = [port["name"] for one in pod["spec"]["containers"] for port in one["ports"]]
        assert endpoint["port"] in ports
        credentials = endpoint["authorization"]["credentials"]
        assert credentials["key"] == "SLIMGPT_METRICS_TOKEN"
        # The one that the pods read, whatever kustomize calls it; production's is made by hand.
        read = pod["spec"]["containers"][0]["envFrom"][1]["secretRef"]["name"]
        assert credentials["name"] == read
        assert read in (secrets or {"slimgpt"})
        (relabeling,) = endpoint["relabelings"]
        scraped[relabeling["targetLabel"], relabeling["replacement"]] = endpoint["interval"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    jobs = {("job", job["job_name"]) for job in prometheus["scrape_configs"]}
    assert scraped == dict.fromkeys(jobs, prometheus["global"]["scrape_interval"])
    assert len(pods) == len(jobs)


def test_the_alerts_are_those_that_are_tested(tmp_path: Path) -> None:
    (rule,) = [m for m in rendered("dev", tmp_path) if m["kind"] == "PrometheusRule"]
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    tested = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    assert rule["spec"] == tested


def test_the_pod_that_models_are_copied_through_keeps_to_the_restricted_profile() -> None:
    pod = yaml.safe_load((KUBERNETES / "models-pod.yaml").read_text())
    kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    reaper = next(yaml.safe_load_all((KUBERNETES / "base" / "reaper.yaml").read_text()))
    others = reaper["spec"]["template"]["spec"]
    assert pod["spec"]["securityContext"] == others["securityContext"]
    (container,), (other,) = pod["spec"]["containers"], others["containers"]
    assert container["securityContext"] == other["securityContext"]
    claim = yaml.safe_load((KUBERNETES / "base" / "models.yaml").read_text())
    (volume,) = pod["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
