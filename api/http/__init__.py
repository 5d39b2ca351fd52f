"""HTTP semantics: problem documents, conditional requests, ranges, paging, filters."""
