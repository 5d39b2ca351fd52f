"""The built site as one file: `api/manual.zip`, which the API serves at `/help`."""

from __future__ import annotations

import zipfile
from pathlib import Path

from manual import policy

POLICY = "content-security-policy"
LEFT_OUT = ("404.html", "sitemap.xml", "sitemap.xml.gz", "objects.inv")
"""Made for a host of its own: they name addresses that this site does not have."""
MOMENT = (1980, 1, 1, 0, 0, 0)


def write(site: Path, out: Path) -> None:
    """Pack a folder, with its policy. The same files make the same bytes."""
    files = {path.relative_to(site).as_posix(): path for path in site.rglob("*") if path.is_file()}
    kept = {name: path.read_bytes() for name, path in files.items() if name not in LEFT_OUT}
    pages, scripts = (
        [content.decode() for name, content in kept.items() if name.endswith(end)]
        for end in ((".html", ".svg"), ".js")
    )
    kept[POLICY] = policy.of(pages, scripts).encode()
    partial = out.with_suffix(".partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(kept):
            archive.writestr(zipfile.ZipInfo(name, MOMENT), kept[name], zipfile.ZIP_DEFLATED)
    partial.replace(out)
