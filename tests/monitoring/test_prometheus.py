"""A real Prometheus scrapes the programs, and answers every query of dashboard and alerts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.monitoring.stack import TOKEN, Stack, finish, new_redis
from tests.servers import Server, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "slimgpt.json"
MAY_BE_EMPTY = (
    "slimgpt_failures_total",  # shows codes with failures alone
    "slimgpt_gpu_",  # without a GPU
    "slimgpt:",  # ratios of nothing, until the rules have been evaluated twice
)
GRAFANA_UNITS = {"short", "s", "bytes", "Bps", "percentunit", "reqps"}
"""Those that the dashboard uses, spelt as in Grafana's list of units; a wrong one shows as text."""
GRAFANA_OWN = {"__rate_interval", "__interval", "__range", "__all"}
BODY = {"model": "local:tiny", "ratio": 0.25, "calibration": {"source": "c4"}}


class Prometheus(Server):
    """Prometheus with the shipped configuration; only where it finds the programs is changed."""

    def __init__(self, stack: Stack) -> None:
        super().__init__("prometheus")
        (self.folder / "token").write_text(TOKEN)
        shutil.copy(PROMETHEUS / "alerts.yml", self.folder)
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        for scraped in config["scrape_configs"]:
            del scraped["dns_sd_configs"]
            port = stack.ports[scraped["job_name"].removeprefix("slimgpt-")]
            scraped["static_configs"] = [{"targets": [f"127.0.0.1:{port}"]}]
            scraped["authorization"]["credentials_file"] = str(self.folder / "token")
        del config["alerting"]
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", trust_env=False, timeout=60
        )

    def command(self) -> list[str]:
        place = str(self.folder)
        options = {
            "config.file": f"{place}/prometheus.yml",
            "storage.tsdb.path": f"{place}/data",
            "web.listen-address": f"127.0.0.1:{self.port}",
        }
        return ["prometheus", *(f"--{name}={value}" for name, value in options.items())]

    def ready(self) -> bool:
        try:
            return self.client.get("/-/ready").is_success
        except httpx.TransportError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer."""
        answer = self.client.get(f"/api/v1/{path}", params=parameters).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What an expression gives now."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def close(self) -> None:
        self.client.close()
        super().close()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[Stack]:
    """A service that has done a job."""
    folder = tmp_path_factory.mktemp("monitored")
    shutil.copyfile(migrated_sqlite, folder / "slimgpt.db")
    redis = new_redis()
    made = Stack(folder, redis.url, {})
    made.start()
    yield made
    made.close()
    redis.close()


@pytest.fixture(scope="module")
def prometheus(stack: Stack) -> Iterator[Prometheus]:
    if shutil.which("prometheus") is None:
        pytest.skip("no Prometheus: install Debian's package prometheus")
    server = Prometheus(stack)
    server.start()
    yield server
    server.close()


def expressions() -> list[tuple[str, str]]:
    """Every query of the dashboard with the title of its panel, Grafana's variables resolved."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    names = {variable["name"] for variable in board["templating"]["list"]}
    values = {"instance": ".*"}
    assert names == {*values, "datasource"}
    found = []
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m")
            for name, value in values.items():
                expression = expression.replace(f"${name}", value)
            assert "$" not in expression, panel["title"]
            found.append((panel["title"], expression))
    notes = board["annotations"]["list"]
    return found + [(note["name"], note["expr"]) for note in notes]


def test_every_query_is_answered(stack: Stack, prometheus: Prometheus) -> None:
    with stack.client(stack.key("ada")) as client:
        wait_until(lambda: prometheus.query("slimgpt_attempts_total"), "a first scrape", 60)
        job = client.post("/jobs", json=BODY, headers={"X-Request-ID": "req.7"}).json()
        assert finish(client, job["id"])["status"] == "succeeded"
        wait_until(
            lambda: prometheus.query(
                'increase(slimgpt_attempts_total{outcome="succeeded"}[1m]) > 0'
            ),
            "the job in the metrics",
            60,
        )
    wait_until(lambda: len(prometheus.query("up == 1")) == 3, "all three are scraped", 60)
    silent = [("all", "")]

    def all_answer() -> bool:  # a rate wants two scrapes
        silent[:] = [(title, query) for title, query in expressions() if not answers(query)]
        return not silent

    def answers(query: str) -> bool:
        return bool(prometheus.query(query)) or any(name in query for name in MAY_BE_EMPTY)

    with suppress(TimeoutError):
        wait_until(all_answer, "an answer to every query", 30)
    assert silent == []

    groups = prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] == "err"] == []
    for rule in rules:
        prometheus.query(rule["query"])
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert firing <= {"SlimgptDiskLow"}  # which says something about the machine of the tests

    counted = 'max(slimgpt_jobs{status="succeeded"}) == 1'
    wait_until(lambda: prometheus.query(counted), "a fresh count of jobs", 60)
    assert prometheus.query("sum(slimgpt_layer_seconds_count)")[0]["value"][1] == "3"
    assert prometheus.query("sum(slimgpt_claim_latency_seconds_count)")[0]["value"][1] == "1"
    assert float(prometheus.query("sum(slimgpt_published_bytes_total)")[0]["value"][1]) > 0
    for objective in ("job_failures", "late_claims"):
        (ratio,) = prometheus.query(f"slimgpt:{objective}:ratio28d")
        assert float(ratio["value"][1]) == 0
    (release,) = prometheus.query("count by (version) (slimgpt_build_info) == 3")
    assert release["metric"] == {"version": version("slimgpt-service")}

    text = json.dumps(prometheus.query('{__name__=~"slimgpt_.+"}'))
    assert not [word for word in (job["id"], "ada", "tiny", "req.7") if word in text]
    said = {sample["metric"]["__name__"] for sample in prometheus.query('{__name__=~"slimgpt_.+"}')}
    compare_with_page(said)


def compare_with_page(said: set[str]) -> None:
    """What the page tells of is there, and what is there the page tells of."""
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(slimgpt_[a-z_]+)", page, re.MULTILINE))
    families = {re.sub(r"_(bucket|count|sum)$", "", name) for name in said}
    optional = {name for name in told if name.startswith("slimgpt_gpu_")}
    assert families - optional == told - optional


def test_exporters_ask_for_the_token(stack: Stack) -> None:
    for name in ("worker", "reaper"):
        url = f"http://127.0.0.1:{stack.ports[name]}"
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            assert client.get("/metrics").status_code == 401
            wrong = {"Authorization": "Bearer x"}
            assert client.get("/metrics", headers=wrong).status_code == 401
            right = {"Authorization": f"Bearer {TOKEN}"}
            assert "slimgpt_" in client.get("/metrics", headers=right).text
            assert client.get("/", headers=right).status_code == 404
            assert client.post("/metrics", headers=right).status_code == 404


def test_the_child_that_replaces_a_killed_one_is_measured(stack: Stack) -> None:
    def begun() -> str | None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://127.0.0.1:{stack.ports['worker']}/metrics"
        with suppress(httpx.TransportError):
            text = httpx.get(url, headers=headers, trust_env=False, timeout=60).text
            return str(re.findall(r"^process_start_time_seconds (.+)$", text, re.MULTILINE)[0])
        return None

    first = begun()
    assert first is not None
    (child,) = psutil.Process(stack.processes["worker"].pid).children()
    child.kill()
    wait_until(lambda: begun() not in (None, first), "metrics of the next child", 60)


def test_metrics_are_as_prometheus_wants_them(stack: Stack) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: install Debian's package prometheus")
    for port in stack.ports.values():
        answer = httpx.get(
            f"http://127.0.0.1:{port}/metrics",
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=60,
        )
        ended = subprocess.run(
            ["promtool", "check", "metrics"],
            input=answer.text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")


def test_a_request_is_found_in_every_log(stack: Stack) -> None:
    with stack.client(stack.key("bob")) as client:
        posted = client.post("/jobs", json=BODY, headers={"X-Request-ID": "from-a.client_1"})
        assert posted.headers["X-Request-ID"] == "from-a.client_1"
        finish(client, posted.json()["id"])
        forged = client.get("/jobs?secret=slim_x", headers={"X-Request-ID": "a b\x7f"})
        assert re.fullmatch(r"[0-9a-f]{16}", forged.headers["X-Request-ID"])
        problem = client.get("/jobs/none", headers={"X-Request-ID": "lost"}).json()
        assert problem["request_id"] == "lost"
    key = client.headers["Authorization"].split("_")[1]

    (request,) = [
        entry
        for entry in stack.entries("api")
        if entry["event"] == "request" and entry.get("request_id") == "from-a.client_1"
    ]
    assert (request["method"], request["route"], request["status"]) == ("POST", "/jobs", 202)
    assert request["key"].endswith(key)
    assert "secret=" not in stack.log("api")
    entries = [e for e in stack.entries("worker") if e.get("request_id") == "from-a.client_1"]
    assert {e["job"] for e in entries} == {posted.json()["id"]}
    assert {e["attempt"] for e in entries} == {1}
    assert {"claimed", "engine started", "engine ended", "done"} <= {e["event"] for e in entries}


@pytest.mark.parametrize("words", ["check rules alerts.yml", "test rules alerts_test.yml"])
def test_the_alerts_do_what_they_say(words: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: install Debian's package prometheus")
    ended = subprocess.run(
        ["promtool", *words.split()], cwd=PROMETHEUS, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: install Debian's package prometheus")
    text = (PROMETHEUS / "prometheus.yml").read_text()
    (tmp_path / "token").write_text(TOKEN)
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    (tmp_path / "prometheus.yml").write_text(
        text.replace("/run/secrets/metrics_token", str(tmp_path / "token"))
    )
    ended = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_alert_has_a_test() -> None:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    quiet = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if not case["exp_alerts"]
    }
    assert {rule["alert"] for rule in rules} == fired == quiet


def test_provisioning_names_what_is_there() -> None:
    provisioning = ROOT / "deploy" / "grafana" / "provisioning"
    source, alerts = (
        yaml.safe_load((provisioning / "datasources" / name).read_text())["datasources"][0]
        for name in ("prometheus.yml", "alertmanager.yml")
    )
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for one in (source, alerts):
        name, _, port = one["url"].removeprefix("http://").partition(":")
        assert f"--web.listen-address=:{port}" in services[name]["command"]
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    (variable,) = [v for v in board["templating"]["list"] if v["type"] == "datasource"]
    assert variable["current"] == {"text": source["name"], "value": source["uid"]}
    used = {place["uid"] for place in nodes(board, "uid") if place is not board}
    assert used == {f"${{{variable['name']}}}"}


def nodes(tree: Any, key: str) -> Iterator[dict[str, Any]]:
    """Every object of a JSON tree that has a key."""
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
    if isinstance(tree, dict) and key in tree:
        yield tree
    for child in children:
        yield from nodes(child, key)


def test_the_dashboard_is_one_that_grafana_draws() -> None:
    """Panels do not overlap or leave the grid; ids, units, references and variables are known."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert cell not in taken, (panel["title"], taken.get(cell))
            taken[cell] = panel["title"]
        names = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(names)) == len(names), panel["title"]
        assert bool(names) == (panel["type"] != "row"), panel["title"]
    units = [one["unit"] for one in nodes(panels, "unit")]
    units += [one["value"] for one in nodes(panels, "value") if one.get("id") == "unit"]
    assert set(units) == GRAFANA_UNITS
    declared = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board)))
    assert used - GRAFANA_OWN == declared
