"""`slimgpt webhooks`: addresses that are notified when jobs end."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.client.http import Connection
from cli.client.lifecycle import remove
from cli.client.paging import Paging, show_page
from cli.options.groups import Commands
from cli.options.shared import Json
from cli.terminal.table import show_table

WHOLE = ("id", "job", "status")
webhooks = Commands("webhooks", help="Have addresses notified when jobs end.")
WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, wh_….")]


@webhooks.command()
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to post to: https://…")],
    *,
    event: Annotated[
        list[str] | None,
        typer.Option(
            help="job.succeeded, job.failed or job.cancelled; may be given several times.  "
            "[default: all]"
        ),
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for; shown in lists.")] = "",
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Have ADDRESS notified when your jobs end. Prints the secret, which is not shown again."""
    body: dict[str, Any] = {"url": address, "description": description}
    if event:
        body["events"] = event
    with connection.open() as service:
        made = service.post("/webhooks", body)
    _tell_secret(made, as_json=as_json)


@webhooks.command("list")
def list_all(paging: Paging, connection: Connection, as_json: Json = False) -> None:
    """List the webhooks, newest first."""
    with connection.open() as service:
        page = service.get("/webhooks", **asdict(paging))
    show_page(page, "webhooks list", as_json=as_json, show=_show, none="no webhooks yet")


@webhooks.command()
def delete(webhook_id: WebhookId, connection: Connection, as_json: Json = False) -> None:
    """Delete a webhook and its log."""
    with connection.open() as service:
        remove(service, "/webhooks", webhook_id, as_json=as_json)


@webhooks.command()
def rotate(webhook_id: WebhookId, connection: Connection, as_json: Json = False) -> None:
    """Give a webhook a new secret and print it. The old one also signs for another 24 hours."""
    with connection.open() as service:
        _tell_secret(service.post(f"/webhooks/{webhook_id}/rotate", None), as_json=as_json)


@webhooks.command("test")
def send_test(webhook_id: WebhookId, connection: Connection, as_json: Json = False) -> None:
    """Send `webhook.test`; `slimgpt webhooks deliveries` shows whether it arrived."""
    with connection.open() as service:
        _tell_delivery(service.post(f"/webhooks/{webhook_id}/test", None), as_json=as_json)


@webhooks.command()
def deliveries(
    webhook_id: WebhookId, paging: Paging, connection: Connection, as_json: Json = False
) -> None:
    """List the messages to a webhook and their results, newest first."""
    with connection.open() as service:
        page = service.get(f"/webhooks/{webhook_id}/deliveries", **asdict(paging))
    command = f"webhooks deliveries {webhook_id}"
    show_page(page, command, as_json=as_json, show=_show_deliveries, none="no deliveries yet")


@webhooks.command()
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id, msg_….")],
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Send a message again, now, under the same id."""
    path = f"/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
    with connection.open() as service:
        _tell_delivery(service.post(path, None), as_json=as_json)


def _show(items: list[dict[str, Any]]) -> None:
    rows = [
        (item["id"], _state(item), " ".join(item["events"]), item["url"], item["description"])
        for item in items
    ]
    show_table(("id", "state", "events", "address", "description"), rows, whole=WHOLE)


def _show_deliveries(items: list[dict[str, Any]]) -> None:
    rows = [
        (item["id"], item["event"], item["job_id"] or "", item["status"], _last(item))
        for item in items
    ]
    show_table(("id", "event", "job", "status", "last attempt"), rows, whole=WHOLE)


def _tell_secret(webhook: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(webhook))
        return
    typer.echo(webhook["secret"])
    note = f"{webhook['id']} at {webhook['url']}; keep the secret, it is not shown again"
    typer.echo(note, err=True)


def _tell_delivery(delivery: dict[str, Any], *, as_json: bool) -> None:
    typer.echo(json.dumps(delivery) if as_json else f"{delivery['id']} {delivery['status']}")


def _state(webhook: dict[str, Any]) -> str:
    if webhook["enabled"]:
        return "failing" if webhook["failing_since"] else "enabled"
    return f"disabled: {webhook['disabled_reason']}" if webhook["disabled_reason"] else "disabled"


def _last(delivery: dict[str, Any]) -> str:
    """The number of the last attempt that ended, and its result."""
    if not delivery["log"]:
        return "none yet" if delivery["status"] == "pending" else "none"
    last = delivery["log"][-1]
    return f"{last['attempt']}: {last['error'] or last['status_code']}"
