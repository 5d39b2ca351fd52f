"""The tables of a report, the same in a page and in a terminal."""
