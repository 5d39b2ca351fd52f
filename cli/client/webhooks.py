"""`slimgpt webhooks`: addresses that are told when jobs end, made and looked after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from cli.client.http import DEFAULT_URL, ApiKey, Url, connect
from cli.client.lifecycle import remove
from cli.options.shared import Json
from cli.terminal.tables import show_table

webhooks = typer.Typer(
    name="webhooks",
    help="Have addresses told when jobs end.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
WebhookId = Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, wh_….")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="At most so many.")]
Cursor = Annotated[str | None, typer.Option(help="Go on after an earlier list.")]


@webhooks.command()
def create(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="Where to post to: https://…")],
    event: Annotated[
        list[str] | None,
        typer.Option(help="job.succeeded, job.failed or job.cancelled; several. Default: all."),
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for, to know it in a list.")] = "",
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Have ADDRESS told when your jobs end. Prints the secret, this once."""
    body: dict[str, Any] = {"url": address, "description": description}
    if event:
        body["events"] = event
    with connect(url, api_key) as service:
        made = service.post("/webhooks", body)
    _tell_secret(made, as_json=as_json)


@webhooks.command("list")
def list_all(
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List the webhooks, newest first."""
    with connect(url, api_key) as service:
        page = service.get("/webhooks", limit=limit, cursor=cursor)
    if as_json:
        typer.echo(json.dumps(page))
        return
    rows = [
        (item["id"], _state(item), " ".join(item["events"]), item["url"], item["description"])
        for item in page["items"]
    ]
    _show(("id", "state", "events", "address", "description"), rows)
    if page["next_cursor"]:
        typer.echo(f"more: slimgpt webhooks list --cursor {page['next_cursor']}")


@webhooks.command()
def delete(
    webhook_id: WebhookId, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False
) -> None:
    """Remove a webhook with its log."""
    with connect(url, api_key) as service:
        remove(service, "/webhooks", webhook_id, as_json=as_json)


@webhooks.command()
def rotate(
    webhook_id: WebhookId, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False
) -> None:
    """Give a webhook a new secret, and print it. The old one signs as well for 24 hours."""
    with connect(url, api_key) as service:
        _tell_secret(service.post(f"/webhooks/{webhook_id}/rotate", None), as_json=as_json)


@webhooks.command("test")
def send_test(
    webhook_id: WebhookId, url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: Json = False
) -> None:
    """Send `webhook.test`; `slimgpt webhooks deliveries` shows whether it arrived."""
    with connect(url, api_key) as service:
        _tell_delivery(service.post(f"/webhooks/{webhook_id}/test", None), as_json=as_json)


@webhooks.command()
def deliveries(
    webhook_id: WebhookId,
    limit: Limit = 50,
    cursor: Cursor = None,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List what was sent to a webhook and what came of it, newest first."""
    with connect(url, api_key) as service:
        page = service.get(f"/webhooks/{webhook_id}/deliveries", limit=limit, cursor=cursor)
    if as_json:
        typer.echo(json.dumps(page))
        return
    rows = [
        (item["id"], item["event"], item["job_id"] or "", item["status"], _last(item))
        for item in page["items"]
    ]
    _show(("id", "event", "job", "status", "last attempt"), rows)
    if page["next_cursor"]:
        more = f"slimgpt webhooks deliveries {webhook_id} --cursor {page['next_cursor']}"
        typer.echo(f"more: {more}")


@webhooks.command()
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id, msg_….")],
    url: Url = DEFAULT_URL,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Send a message again, now, under the same id."""
    path = f"/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
    with connect(url, api_key) as service:
        _tell_delivery(service.post(path, None), as_json=as_json)


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
    """The number of the last attempt that ended, and what came of it."""
    if not delivery["log"]:
        return "none yet" if delivery["status"] == "pending" else "none"
    last = delivery["log"][-1]
    return f"{last['attempt']}: {last['error'] or last['status_code']}"


def _show(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    if rows:
        show_table(columns, rows, whole=("id", "job", "status"))
    else:
        typer.echo("none yet")
