"""Kinds of problem documents: HTTP status, title, and what the client can do (`/problems/KIND`)."""

from __future__ import annotations

from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of problem: its HTTP status, its title, and what the client can do."""

    status: int
    title: str
    remedy: str


KINDS: dict[str, Kind] = {
    "malformed-request": Kind(400, "The request cannot be read", "Send well-formed JSON in UTF-8."),
    "unauthorized": Kind(
        401, "The request needs a valid API key", "Send Authorization: Bearer and an API key."
    ),
    "not-local": Kind(
        403,
        "The service accepts requests from its own machine only",
        "Send requests from that machine, to localhost or 127.0.0.1.",
    ),
    "not-admin": Kind(
        403, "Only admins may do this", "Use a key created with `slimgpt keys create --admin`."
    ),
    "not-found": Kind(404, "There is no such path", "See /docs for the paths of the API."),
    "job-not-found": Kind(404, "There is no such job", "List the jobs with GET /v1/jobs."),
    "webhook-not-found": Kind(
        404, "There is no such webhook", "List the webhooks with GET /v1/webhooks."
    ),
    "key-not-found": Kind(404, "There is no such API key", "List the keys with GET /v1/keys."),
    "delivery-not-found": Kind(
        404,
        "The webhook has no such delivery",
        "List its deliveries with GET /v1/webhooks/{id}/deliveries; old ones are removed.",
    ),
    "artifact-not-found": Kind(
        404, "The job has no such file", "List its files with GET /v1/jobs/{id}/artifacts."
    ),
    "calibration-set-not-found": Kind(
        404, "There is no such calibration set", "List the sets with GET /v1/calibration-sets."
    ),
    "method-not-allowed": Kind(
        405, "The path does not support this method", "The header Allow lists the methods."
    ),
    "upload-stalled": Kind(
        408, "The upload was too slow", "Send it again over a faster connection."
    ),
    "job-not-finished": Kind(
        409, "The job has not finished", "Poll GET /v1/jobs/{id}/status until it has succeeded."
    ),
    "job-finished": Kind(409, "The job has finished", "A finished job cannot be changed."),
    "job-without-result": Kind(
        409, "The job ended without a result", "GET /v1/jobs/{id} has the reason; submit a new job."
    ),
    "calibration-set-in-use": Kind(
        409, "An unfinished job uses the calibration set", "Wait for the job to end, or cancel it."
    ),
    "uploads-full": Kind(
        409,
        "The owner's upload quota is used up",
        "Delete calibration sets that are no longer needed.",
    ),
    "artifacts-expired": Kind(
        410,
        "The job's files have expired",
        "GET /v1/jobs/{id}/report still works; post the job again for new files.",
    ),
    "key-in-use": Kind(
        409, "A key cannot revoke itself", "Use another admin key, or `slimgpt keys revoke`."
    ),
    "keys-off": Kind(
        409,
        "The service asks for no API keys",
        "Set SLIMGPT_AUTH=keys to require them; `slimgpt keys` works in any case.",
    ),
    "webhook-disabled": Kind(
        409, "The webhook is disabled", 'Enable it: PATCH /v1/webhooks/{id} with {"enabled": true}.'
    ),
    "webhook-changed": Kind(
        409, "Another request has changed the webhook", "Get the webhook, then try again."
    ),
    "too-many-webhooks": Kind(
        409, "The owner has too many webhooks", "Delete one that is no longer needed."
    ),
    "body-too-large": Kind(413, "The request body is too large", "Send a smaller body."),
    "not-json": Kind(
        415, "The request body is not declared as JSON", "Send Content-Type: application/json."
    ),
    "not-text": Kind(
        415,
        "The body's declared type is not supported",
        "Send uncompressed UTF-8 with Content-Type: application/x-ndjson, text/csv or text/plain.",
    ),
    "range-not-satisfiable": Kind(
        416, "The range lies outside the file", "Ask for a range below the file's size."
    ),
    "invalid-request": Kind(
        422, "The request is not valid", "Correct the fields that `errors` points to."
    ),
    "invalid-calibration-set": Kind(
        422, "The text is not valid", "Correct the line that `detail` names; nothing was stored."
    ),
    "plan-refused": Kind(
        422, "The job cannot be planned", "Change what `detail` names; the job would fail, too."
    ),
    "model-not-cached": Kind(
        422,
        "The model is not on the API's machine",
        "Post the job: it is planned first and fails early if it cannot be done.",
    ),
    "idempotency-conflict": Kind(
        422,
        "The idempotency key was used for another request",
        "Use a new Idempotency-Key for a new request.",
    ),
    "too-many-requests": Kind(
        429, "Too many requests", "Wait for the seconds in the header Retry-After."
    ),
    "too-many-streams": Kind(
        429,
        "The owner has too many open event streams",
        "Close one, or poll GET /v1/jobs/{id}/status.",
    ),
    "too-many-downloads": Kind(
        429, "The owner has too many downloads in progress", "Wait until one has finished."
    ),
    "too-many-jobs": Kind(
        429, "The owner has too many unfinished jobs", "Wait until one has finished, or cancel one."
    ),
    "too-many-plans": Kind(
        429, "The owner has too many plans in progress", "Wait until one has finished."
    ),
    "too-many-checks": Kind(
        429, "The owner has too many URL checks in progress", "Wait until one has finished."
    ),
    "too-many-uploads": Kind(
        429, "The owner has too many uploads in progress", "Wait until one has finished."
    ),
    "headers-too-large": Kind(
        431, "The request's headers are too large", "Send a shorter URL and fewer headers."
    ),
    "internal-error": Kind(
        500, "The service failed", "The service's log has the reason, with the same `reference`."
    ),
    "storage-low": Kind(
        503, "The service has too little disk space", "Try again when its operator has freed space."
    ),
    "webhooks-unavailable": Kind(
        503, "The service cannot sign webhooks", "Its operator must set SLIMGPT_KEY_PEPPER."
    ),
    "unavailable": Kind(
        503, "The service is unavailable", "Try again later; GET /readyz names the failed part."
    ),
}
