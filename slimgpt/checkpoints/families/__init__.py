"""Model families as a table: architecture, tensor names and config keys of each."""
