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
        "The service answers its own machine only",
        "Ask it on that machine, as localhost or 127.0.0.1.",
    ),
    "not-admin": Kind(
        403, "This is for admins", "Use a key made with `slimgpt keys create --admin`."
    ),
    "not-found": Kind(404, "There is nothing at this address", "See /docs for the addresses."),
    "job-not-found": Kind(404, "There is no such job", "List the jobs with GET /jobs."),
    "webhook-not-found": Kind(
        404, "There is no such webhook", "List the webhooks with GET /webhooks."
    ),
    "delivery-not-found": Kind(
        404,
        "The webhook has no such delivery",
        "List its deliveries with GET /webhooks/{id}/deliveries; old ones are removed.",
    ),
    "artifact-not-found": Kind(
        404, "The job has no such file", "List its files with GET /jobs/{id}/artifacts."
    ),
    "calibration-set-not-found": Kind(
        404, "There is no such calibration set", "List the sets with GET /calibration-sets."
    ),
    "method-not-allowed": Kind(
        405, "This address does not take that method", "The Allow header names those it takes."
    ),
    "upload-stalled": Kind(
        408, "The upload came too slowly", "Send it again, on a better connection."
    ),
    "job-not-finished": Kind(
        409, "The job has not finished", "Poll GET /jobs/{id}/status until it has succeeded."
    ),
    "job-finished": Kind(409, "The job is over", "A job that is over cannot be changed."),
    "job-without-result": Kind(
        409, "The job ended without a result", "GET /jobs/{id} says why; submit a new job."
    ),
    "calibration-set-in-use": Kind(
        409, "An unfinished job needs the calibration set", "Wait for its end, or cancel it."
    ),
    "uploads-full": Kind(
        409,
        "The owner keeps as much as they may",
        "Delete calibration sets that are not needed any more.",
    ),
    "artifacts-expired": Kind(
        410,
        "The job's files were kept long enough",
        "GET /jobs/{id}/report is there still; post the job again for new files.",
    ),
    "webhook-disabled": Kind(
        409, "The webhook is disabled", 'Enable it: PATCH /webhooks/{id} with {"enabled": true}.'
    ),
    "webhook-changed": Kind(
        409, "The webhook was changed by another request", "Look at it, and ask again if need be."
    ),
    "too-many-webhooks": Kind(
        409, "The owner has too many webhooks", "Delete one that is not needed any more."
    ),
    "body-too-large": Kind(413, "The request body is too large", "Send a smaller body."),
    "not-json": Kind(
        415, "The request body is not declared as JSON", "Send Content-Type: application/json."
    ),
    "not-text": Kind(
        415,
        "The body is not declared as text that can be read",
        "Send Content-Type: application/x-ndjson or text/plain, in UTF-8, not packed.",
    ),
    "range-not-satisfiable": Kind(
        416, "The range lies outside the file", "Ask for a range below the file's size."
    ),
    "invalid-request": Kind(
        422, "The request is not valid", "Correct the fields that `errors` points to."
    ),
    "invalid-calibration-set": Kind(
        422, "The text cannot be used", "Correct the line that `detail` names; nothing was kept."
    ),
    "plan-refused": Kind(
        422, "The job cannot be planned", "`detail` says what to change; so would the job fail."
    ),
    "model-not-cached": Kind(
        422,
        "The model is not on the API's machine",
        "Post the job: its plan is made first, and refuses early what cannot be done.",
    ),
    "idempotency-conflict": Kind(
        422,
        "The idempotency key was used for another request",
        "Use a new Idempotency-Key for a new request.",
    ),
    "too-many-requests": Kind(
        429, "Too many requests", "Wait as many seconds as Retry-After says."
    ),
    "too-many-streams": Kind(
        429,
        "The owner has too many streams of events open",
        "Close one, or poll GET /jobs/{id}/status.",
    ),
    "too-many-downloads": Kind(
        429, "The owner has too many downloads under way", "Wait until one is done."
    ),
    "too-many-jobs": Kind(
        429, "The owner has too many unfinished jobs", "Wait until one is over, or cancel one."
    ),
    "too-many-plans": Kind(
        429, "The owner has too many plans under way", "Wait until one is made."
    ),
    "too-many-checks": Kind(
        429, "The owner has too many addresses under way", "Wait until one is checked."
    ),
    "too-many-uploads": Kind(
        429, "The owner has too many uploads under way", "Wait until one is done."
    ),
    "headers-too-large": Kind(
        431, "The request's headers are too large", "Send a shorter address and fewer headers."
    ),
    "internal-error": Kind(
        500, "The service failed", "The service's log holds the reason under the reference."
    ),
    "storage-low": Kind(
        503, "The service has no room for new jobs", "Try again when its operator has made room."
    ),
    "webhooks-unavailable": Kind(
        503, "The service cannot sign webhooks", "Its operator sets SLIMGPT_KEY_PEPPER."
    ),
    "unavailable": Kind(
        503, "The service cannot answer now", "Try again later; GET /readyz names what is missing."
    ),
}
