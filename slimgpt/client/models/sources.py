"""Models and texts below the service's roots as the API answers them."""

from __future__ import annotations

from slimgpt.client.models.base import Model, Rows
from slimgpt.planning import document
from slimgpt.spec.sizes import short_count, short_size


class FoundModel(document.FoundModel, Model):
    """A model; `model` is its name in jobs, and sizes are None if it cannot be read.

    Attributes:
        positions: the longest context, in tokens.
        prunable: whether its config and headers can be pruned; if not, `reason` says why.
        pruned: whether its layers differ in size.
    """


class ModelPage(Model):
    """Some models by name; `next_cursor` asks for the next page, None: this is the last.

    `complete`: whether all are listed; False where there are too many files below the root.
    """

    items: list[FoundModel]
    next_cursor: str | None
    complete: bool

    def rows(self) -> Rows:
        """As a table."""
        header = ("model", "family", "parameters", "layers", "size", "prunable")
        rows = [
            (one.model, one.family or "",
             "" if one.parameters is None else short_count(one.parameters),
             "" if one.layers is None else str(one.layers),
             "" if one.bytes is None else short_size(one.bytes),
             "yes" if one.prunable else one.reason or "no")
            for one in self.items
        ]  # fmt: skip
        return Rows(header, rows, frozenset({2, 3, 4}))


class Text(Model):
    """A text file; `source` is its name in jobs, `bytes` its size."""

    source: str
    bytes: int


class TextPage(Model):
    """Some texts by name; `next_cursor` and `complete` are as those of models."""

    items: list[Text]
    next_cursor: str | None
    complete: bool

    def rows(self) -> Rows:
        """As a table."""
        rows = [(one.source, f"{one.bytes:,}") for one in self.items]
        return Rows(("source", "bytes"), rows, frozenset({1}))
