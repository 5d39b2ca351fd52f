"""Alertmanager with the shipped configuration: what it notifies of, and what it holds back."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.servers import Server, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
SEVERITIES = {
    (rule["alert"], rule["labels"]["severity"])
    for group in RULES
    for rule in group["rules"]
    if "alert" in rule
}


class Alertmanager(Server):
    """Alertmanager as docker-compose.yml starts it."""

    def __init__(self) -> None:
        super().__init__("alertmanager")
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}/api/v2", trust_env=False, timeout=60
        )

    def command(self) -> list[str]:
        services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
        places = {
            "/etc/alertmanager": str(CONFIG.parent),
            "=/alertmanager": f"={self.folder}",
            "=:9093": f"=127.0.0.1:{self.port}",
        }
        words = ["prometheus-alertmanager", *services["alertmanager"]["command"]]
        for place, here in places.items():
            words = [word.replace(place, here) for word in words]
        return words

    def ready(self) -> bool:
        try:
            return self.client.get("/status").is_success
        except httpx.TransportError:
            return False

    def fire(self, *alerts: tuple[str, str]) -> None:
        """Send alerts, by name and severity, as Prometheus does."""
        labels = [{"alertname": name, "severity": severity} for name, severity in alerts]
        self.client.post("/alerts", json=[{"labels": one} for one in labels]).raise_for_status()

    def states(self) -> dict[tuple[str, str], str]:
        """`active` or `suppressed`, for every alert."""
        found: list[dict[str, Any]] = self.client.get("/alerts").raise_for_status().json()
        return {
            (one["labels"]["alertname"], one["labels"]["severity"]): one["status"]["state"]
            for one in found
        }

    def close(self) -> None:
        self.client.close()
        super().close()


@pytest.fixture
def alertmanager() -> Iterator[Alertmanager]:
    if shutil.which("prometheus-alertmanager") is None:
        pytest.skip("no Alertmanager: install Debian's package prometheus-alertmanager")
    server = Alertmanager()
    server.start()
    yield server
    server.close()


def test_the_cause_is_notified_without_its_consequences(alertmanager: Alertmanager) -> None:
    alertmanager.fire(*SEVERITIES)
    held_back = {
        *("SlimgptNoWorker", "SlimgptReaperSilent", "SlimgptQueueStuck", "SlimgptApiErrors"),
        *("SlimgptWorkerSilent", "SlimgptQueueSlow", "SlimgptQueueObjective"),
    }
    expected = {
        (name, severity): "suppressed"
        if name in held_back or (name, severity) == ("SlimgptSuccessObjective", "warning")
        else "active"
        for name, severity in SEVERITIES
    }
    wait_until(lambda: alertmanager.states() == expected, f"{alertmanager.states()}", 60)


def test_consequences_without_their_cause_are_notified(alertmanager: Alertmanager) -> None:
    alone = {("SlimgptQueueStuck", "critical"), ("SlimgptQueueObjective", "warning")}
    alertmanager.fire(*alone)
    wait_until(lambda: alertmanager.states() == dict.fromkeys(alone, "active"), "both active", 60)


def test_the_configuration_names_alerts_that_exist() -> None:
    config = yaml.safe_load(CONFIG.read_text())
    for rule in config["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            label, value = matcher.replace("=~", "=").split("=")
            if label == "alertname":
                assert set(value.strip('"').split("|")) <= {name for name, _ in SEVERITIES}


def test_the_configuration_is_valid() -> None:
    if shutil.which("amtool") is None:
        pytest.skip("no amtool: install Debian's package prometheus-alertmanager")
    done = subprocess.run(
        ["amtool", "check-config", str(CONFIG)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    routed = subprocess.run(
        ["amtool", "config", "routes", "test", f"--config.file={CONFIG}", "severity=critical"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert routed.stdout.strip() == "operators"
