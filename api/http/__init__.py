"""HTTP as the RFCs have it: problems, conditional requests, ranges, paging, OpenAPI."""
