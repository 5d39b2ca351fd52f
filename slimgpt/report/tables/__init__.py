"""The tables of a report, shared by the HTML page and the terminal."""
