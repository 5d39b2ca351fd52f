"""The plots of a report, as SVG that lives in a page."""
