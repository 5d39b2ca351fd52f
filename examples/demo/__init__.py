"""The demonstrations that `make demo` runs."""
