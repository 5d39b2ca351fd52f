"""`slimgpt webhooks`: addresses that are notified when jobs end."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from cli.client.connection import Connection
from cli.client.lifecycle import remove
from cli.client.paging import Paging, show_page
from cli.options.groups import Commands
from cli.options.shared import Json

if TYPE_CHECKING:
    from slimgpt.client.models.webhooks import Delivery, JobEnd, WebhookWithSecret

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
    """Have ADDRESS notified when your jobs end. Prints the secret, which is not shown again.

    \b
    Example:
      slimgpt webhooks create https://example.org/hook --event job.failed
    """
    with connection.open() as client:
        made = client.webhooks.create(
            address, events=cast("list[JobEnd] | None", event), description=description
        )
    _tell_secret(made, as_json=as_json)


@webhooks.command("list")
def list_all(paging: Paging, connection: Connection, as_json: Json = False) -> None:
    """List the webhooks, newest first.

    \b
    Example:
      slimgpt webhooks list
    """
    with connection.open() as client:
        page = client.webhooks.list(**asdict(paging))
    show_page(page, "webhooks list", as_json=as_json, none="no webhooks yet")


@webhooks.command()
def delete(webhook_id: WebhookId, connection: Connection, as_json: Json = False) -> None:
    """Delete a webhook and its log.

    \b
    Example:
      slimgpt webhooks delete wh_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    with connection.open() as client:
        remove(client.webhooks.delete, webhook_id, as_json=as_json)


@webhooks.command()
def rotate(webhook_id: WebhookId, connection: Connection, as_json: Json = False) -> None:
    """Give a webhook a new secret and print it. The old one also signs for another 24 hours.

    \b
    Example:
      slimgpt webhooks rotate wh_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    with connection.open() as client:
        _tell_secret(client.webhooks.rotate(webhook_id), as_json=as_json)


@webhooks.command("test")
def send_test(webhook_id: WebhookId, connection: Connection, as_json: Json = False) -> None:
    """Send `webhook.test`; `slimgpt webhooks deliveries` shows whether it arrived.

    \b
    Example:
      slimgpt webhooks test wh_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    with connection.open() as client:
        _tell_delivery(client.webhooks.test(webhook_id), as_json=as_json)


@webhooks.command()
def deliveries(
    webhook_id: WebhookId, paging: Paging, connection: Connection, as_json: Json = False
) -> None:
    """List the messages to a webhook and their results, newest first.

    \b
    Example:
      slimgpt webhooks deliveries wh_01jd5xa3k8e6q7m2n4p9r0s1t2 --limit 10
    """
    with connection.open() as client:
        page = client.webhooks.deliveries(webhook_id, **asdict(paging))
    command = f"webhooks deliveries {webhook_id}"
    show_page(page, command, as_json=as_json, none="no deliveries yet")


@webhooks.command()
def redeliver(
    webhook_id: WebhookId,
    delivery_id: Annotated[str, typer.Argument(metavar="DELIVERY", help="Its id, msg_….")],
    connection: Connection,
    as_json: Json = False,
) -> None:
    """Send a message again, now, under the same id.

    \b
    Example:
      slimgpt webhooks redeliver wh_01jd5xa3k8e6q7m2n4p9r0s1t2 \\
          msg_01jd5xa3k8e6q7m2n4p9r0s1t2
    """
    with connection.open() as client:
        _tell_delivery(client.webhooks.redeliver(webhook_id, delivery_id), as_json=as_json)


def _tell_secret(webhook: WebhookWithSecret, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(webhook.raw))
        return
    typer.echo(webhook.secret)
    note = f"{webhook.id} at {webhook.url}; keep the secret, it is not shown again"
    typer.echo(note, err=True)


def _tell_delivery(delivery: Delivery, *, as_json: bool) -> None:
    typer.echo(json.dumps(delivery.raw) if as_json else f"{delivery.id} {delivery.status}")
