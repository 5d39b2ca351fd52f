"""Describes model folders below the models root: family, sizes, and whether they can be pruned.

Reads configs and headers only. Imports neither torch nor transformers.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator

from slimgpt.checkpoints.checkpoint import Checkpoint
from slimgpt.errors import SlimGPTError
from slimgpt.planning.document import FoundModel, ModelList
from slimgpt.sources.roots import Roots
from slimgpt.spec.names import model_name


def describe(names: Iterable[str], roots: Roots) -> Iterator[ModelList]:
    """Descriptions of `local:` models in their order, each as soon as it is known.

    A model that cannot be opened is described by the reason; one that is damaged in a way that no
    check expects, or is read for too long, does not hide the others.
    """
    for name in names:
        yield ModelList(items=[_described(name, roots)])


def _described(name: str, roots: Roots) -> FoundModel:
    try:
        folder = roots.model(model_name(name))
        checkpoint = Checkpoint.open(folder, within=roots.within(name))
    except (SlimGPTError, OSError, ValueError) as error:
        return FoundModel(model=name, reason=str(error) or type(error).__name__)
    except Exception as error:  # a defect of this reader: logged, and reported as the reason
        traceback.print_exc()
        return FoundModel(model=name, reason=f"it could not be read: {type(error).__name__}")
    architecture = checkpoint.architecture
    positions = checkpoint.config.get(architecture.family.keys.positions)
    return FoundModel(
        model=name,
        family=architecture.family.model_type,
        parameters=checkpoint.parameters,
        bytes=checkpoint.bytes,
        layers=architecture.layers,
        positions=positions if isinstance(positions, int) else None,
        dtype=architecture.dtype,
        prunable=True,
        pruned=len(set(architecture.sizes)) > 1,
    )
