"""`GET /jobs/{id}/report.html`: the report page, served in a sandbox.

The page contains text of untrusted models. So its policy gives it an opaque origin and forbids
scripts, loading, forms and framing.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response

from api.dependencies import FoundJob, ServicesDep, counted_download
from api.openapi import problems
from api.routes.artifacts import RangeHeaders, download_artifact

FILE = "report.html"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "sandbox",
    )
)
HEADERS = {
    "Content-Disposition": f'inline; filename="{FILE}"',
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
router = APIRouter(prefix="/jobs/{job_id}", tags=["artifacts"])


@router.head(f"/{FILE}", include_in_schema=False)
@router.get(
    f"/{FILE}",
    response_class=Response,
    responses={
        200: {"content": {"text/html": {}}, "description": "The page."},
        304: {"description": "The client has the page already."},
        **problems(404, 409, 410, 429, 503),
    },
    dependencies=[Depends(counted_download)],
)
async def get_job_report_page(
    job: FoundJob,
    services: ServicesDep,
    request: Request,
    if_none_match: Annotated[
        str | None, Header(description="ETag of the page that the client has.")
    ] = None,
) -> Response:
    """The report of a succeeded job as a self-contained HTML page, for screen and print."""
    asked = RangeHeaders(if_none_match=if_none_match)
    answer = await download_artifact(job, FILE, services, None, request, asked)
    answer.headers.update(HEADERS)
    if "Accept-Ranges" in answer.headers:  # ranges are not supported here
        del answer.headers["Accept-Ranges"]
    return answer
