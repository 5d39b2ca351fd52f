"""The compose file, judged by the real Docker Compose and by rules of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.messages.queue import SOFT_SHUTDOWN_SECONDS
from jobs.settings import Settings
from tests.deploy.compose import PROFILES, ROOT, Config, new_env, render, run, variables
from tests.deploy.container import seconds

ONE_SHOTS = {"migrate", "bucket", "check"}
SECRETS = {name for name, value in variables(new_env()).items() if len(value) == 48}


@pytest.fixture(scope="module")
def config() -> Config:
    """Everything, all profiles together."""
    return render(PROFILES)


@pytest.fixture(scope="module")
def services(config: Config) -> dict[str, Any]:
    """All services by name."""
    found: dict[str, Any] = config["services"]
    return found


@pytest.mark.parametrize(
    ("profile", "more"),
    [
        ("", set()),
        ("cpu", {"worker-cpu"}),
        ("gpu", {"worker-gpu"}),
        ("monitoring", {"prometheus", "alertmanager", "grafana"}),
    ],
)
def test_each_profile_is_valid_and_adds_its_own(profile: str, more: set[str]) -> None:
    always = {"postgres", "redis", "s3", "api", "reaper", *ONE_SHOTS}
    assert set(render([profile] if profile else [])["services"]) == always | more


def test_every_secret_is_required() -> None:
    given = variables(new_env())
    assert {name for name, value in variables(_example()).items() if not value} - {
        "SLIMGPT_TRUSTED_PROXY",
        "HF_TOKEN",
    } == SECRETS
    for name in SECRETS:
        done = run(["config", "-q"], {k: v for k, v in given.items() if k != name})
        assert done.returncode != 0
        assert name in done.stderr
        assert "deploy/new-env" in done.stderr


def test_the_example_names_what_the_file_asks_for() -> None:
    asked = run(["config", "--variables", "--format", "json"], variables(new_env()))
    assert set(json.loads(asked.stdout)) == set(variables(_example()))


def _example() -> str:
    return (ROOT / ".env.example").read_text(encoding="utf-8")


def test_two_installations_share_no_secret() -> None:
    values = [value for name, value in variables(new_env()).items() if name in SECRETS]
    assert len(set(values)) == len(values) == 7


def test_every_container_can_do_as_little_as_possible(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert service["init"] is True, name
        assert not service.get("privileged"), name
        own = service["image"].startswith("slimgpt-")  # its Dockerfile says who runs it
        assert own or service["user"].split(":")[0] not in ("", "0", "root"), name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert {"max-size", "max-file"} <= set(service["logging"]["options"]), name
        # Compose copies these in when the container is made, which a read-only one refuses.
        assert "secrets" not in service, name
        assert "configs" not in service, name


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    tags = {service["image"].partition(":")[2] for service in services.values()}
    assert not {tag for tag in tags if tag in ("", "latest") or not any(map(str.isdigit, tag))}


def test_what_lives_on_is_watched_and_started_again(services: dict[str, Any]) -> None:
    for name, service in services.items():
        check = service["healthcheck"]
        if name in ONE_SHOTS:
            assert service["restart"] == "no"
            assert check == {"disable": True}
        else:
            assert service["restart"] == "unless-stopped", name
            assert check["test"][0] == "CMD", name  # no shell that could hide a status
            assert seconds(check["start_period"]) >= 30, name


def test_nothing_starts_before_what_it_needs(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, need in service.get("depends_on", {}).items():
            done = "service_completed_successfully" if other in ONE_SHOTS else "service_healthy"
            assert need["condition"] == done, (name, other)
    for name in ("api", "reaper", "worker-cpu", "worker-gpu"):
        assert "check" in services[name]["depends_on"]


def test_only_people_get_in_and_only_where_asked(config: Config) -> None:
    services = config["services"]
    published = {
        name: [(port["host_ip"], port["target"]) for port in service["ports"]]
        for name, service in services.items()
        if "ports" in service
    }
    assert published == {"api": [("127.0.0.1", 8000)], "grafana": [("127.0.0.1", 3000)]}
    assert config["networks"]["data"]["internal"] is True
    stores = ("postgres", "redis", "s3")
    assert all(list(services[name]["networks"]) == ["data"] for name in stores)


@pytest.mark.parametrize("worker", ["worker-cpu", "worker-gpu"])
def test_a_worker_has_time_to_give_its_job_back(services: dict[str, Any], worker: str) -> None:
    needed = SOFT_SHUTDOWN_SECONDS + Settings.model_fields["engine_stop_seconds"].default
    assert seconds(services[worker]["stop_grace_period"]) >= needed + 15
    assert "stop_signal" not in services[worker]  # TERM


def test_the_gpu_worker_alone_has_the_gpu_it_was_given() -> None:
    services = render(PROFILES, {"SLIMGPT_GPU": "3"})["services"]
    reserved = {
        name: service["deploy"]["resources"]["reservations"]["devices"]
        for name, service in services.items()
        if "reservations" in service["deploy"]["resources"]
    }
    wanted = {"driver": "nvidia", "device_ids": ["3"], "capabilities": ["gpu"]}
    assert reserved == {"worker-gpu": [wanted]}


def test_all_know_how_many_gpus_a_job_may_use() -> None:
    services = render(PROFILES, {"SLIMGPT_MAX_DEVICES": "4"})["services"]
    for name in ("api", "worker-gpu"):
        assert services[name]["environment"]["SLIMGPT_MAX_DEVICES"] == "4"
    assert int(services["worker-gpu"]["shm_size"]) == 1 << 30  # NCCL's; Docker gives 64 MiB


def test_a_proxy_is_believed_only_by_name(services: dict[str, Any]) -> None:
    assert services["api"]["environment"]["FORWARDED_ALLOW_IPS"] == ""
    named = render((), {"SLIMGPT_TRUSTED_PROXY": "172.18.0.1"})["services"]["api"]
    assert named["environment"]["FORWARDED_ALLOW_IPS"] == "172.18.0.1"


def test_every_setting_of_ours_exists(services: dict[str, Any]) -> None:
    names = {name for service in services.values() for name in service.get("environment", {})}
    ours = {name.removeprefix("SLIMGPT_").lower() for name in names if name.startswith("SLIMGPT_")}
    assert ours <= set(Settings.model_fields)


def test_what_is_mounted_is_there(services: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert volume["read_only"] is True
                assert (ROOT / volume["source"]).is_dir(), volume
