"""`python -m migrations upgrade | downgrade | current`."""

from __future__ import annotations

from migrations.command import app

if __name__ == "__main__":
    app(prog_name="python -m migrations")
