"""Contamination check: runs of 64 tokens shared between evaluation text and other texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

RUN = 64
"""Length of a run of tokens that two texts do not share by chance; stock phrases are shorter."""
_BASE = np.uint64(0x9E3779B97F4A7C15)


class Seen:
    """Hashes of all n-grams of some sequences.

    Args:
        sequences: token ids.
        run: n, the number of consecutive tokens that count as overlap.
    """

    def __init__(self, sequences: Iterable[Sequence[int]], run: int = RUN) -> None:
        self._run = run
        self._powers = np.power(_BASE, np.arange(run, dtype=np.uint64))
        hashes = [self._hashes(sequence) for sequence in sequences]
        self._known = np.unique(np.concatenate([np.empty(0, np.uint64), *hashes]))

    def shares(self, sequence: Sequence[int]) -> bool:
        """Whether a sequence has an n-gram in common with them."""
        return bool(self._among(self._hashes(sequence)).any())

    def covers(self, sequence: Sequence[int]) -> NDArray[np.bool_]:
        """For each token of a sequence, whether it is part of a common n-gram, (tokens,)."""
        starts = np.flatnonzero(self._among(self._hashes(sequence)))
        edges = np.zeros(len(sequence) + 1, dtype=np.int64)
        edges[starts] += 1
        edges[starts + self._run] -= 1
        covered: NDArray[np.bool_] = edges.cumsum()[:-1] > 0
        return covered

    def _among(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        # Not `np.isin`, which would sort all known hashes again for each sequence.
        if not len(self._known):
            return np.zeros(len(hashes), dtype=np.bool_)
        places = np.searchsorted(self._known, hashes).clip(max=len(self._known) - 1)
        found: NDArray[np.bool_] = self._known[places] == hashes
        return found

    def _hashes(self, sequence: Sequence[int]) -> NDArray[np.uint64]:
        ids = np.asarray(sequence, dtype=np.uint64)
        if len(ids) < self._run:
            return np.empty(0, np.uint64)
        runs = np.lib.stride_tricks.sliding_window_view(ids + np.uint64(1), self._run)
        hashes: NDArray[np.uint64] = runs @ self._powers  # modulo 2^64
        return hashes
