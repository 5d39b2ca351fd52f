"""What tests of the store share: a specification, and events as an engine would say them."""

from __future__ import annotations

from slimgpt.events import LayerFinished, Planned
from slimgpt.spec.prune import PruneSpec

SPEC = PruneSpec(model="local:tiny", ratio=0.5, schedule={"shape": "log"})
PLAN = Planned(
    parameters_before=900, parameters_after=450, ratio_achieved=0.5, layers=4, channel_multiple=32
)


def layer(number: int, *, seconds: float = 2.0, resumed: bool = False) -> LayerFinished:
    """A finished layer of four."""
    return LayerFinished(
        layer=number,
        layers_total=4,
        heads_before=4,
        heads=2,
        kv_heads_before=2,
        kv_heads=1,
        channels_before=64,
        channels=32,
        parameters_before=3_000_000_000,  # more than 32 bits hold
        parameters=2_500_000_000,
        attention_error=0.125,
        ffn_error=0.25,
        attention_damping=0.01,
        ffn_damping=0.02,
        seconds=seconds,
        resumed=resumed,
    )
