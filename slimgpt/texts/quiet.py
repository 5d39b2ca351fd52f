"""One warning of transformers that is not meant for us.

Reading the config of a pruned folder makes transformers warn, three times, that sizes differ
between layers: whoever builds layers from the global sizes would be wrong. A tokenizer has no
layers, and the engine builds its own from each layer's sizes (`slimgpt.layers.stack`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

SOURCE = logging.getLogger("transformers.integrations.heterogeneity.configuration_utils")
WORDS = "Reading global config value for per-layer attribute"


def _is_meant(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(WORDS)


@contextmanager
def no_layers_are_built() -> Iterator[None]:
    """Within it configs are read, and that warning, alone, is not printed."""
    SOURCE.addFilter(_is_meant)
    try:
        yield
    finally:
        SOURCE.removeFilter(_is_meant)
