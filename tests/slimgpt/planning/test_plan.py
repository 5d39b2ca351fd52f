"""The plan: the parameter target is met, and every layer stays legal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimgpt.checkpoints.families import architecture
from slimgpt.errors import SpecError, UnreachableTargetError
from slimgpt.planning import costs, plan
from slimgpt.spec.prune import PruneSpec

SHAPES = ["log", "linear", "uniform", "log-decrease", "linear-decrease"]


def config(**changes: Any) -> dict[str, Any]:
    """LLaMA-7B's sizes, or others."""
    llama_7b = {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "vocab_size": 32000,
    }
    return llama_7b | changes


def count(sizes: tuple[architecture.LayerSize, ...], of: architecture.Architecture) -> int:
    """Parameters of a Llama without biases, from first principles."""
    d, b = of.hidden, of.head_dim
    layers = sum(
        2 * d + 2 * s.heads * b * d + 2 * s.kv_heads * b * d + 3 * s.channels * d for s in sizes
    )
    return layers + of.vocabulary * d * (1 if of.tied else 2) + d


def planned(spec: PruneSpec, **changes: Any) -> tuple[plan.Plan, architecture.Architecture]:
    of = architecture.read(config(**changes))
    pieces = costs.of(of, {}, count(of.sizes, of), spec.head_unit, 2)
    return plan.make(spec, pieces.for_tensor_parallel(spec.tensor_parallel)), of


@pytest.mark.parametrize(("ratio", "billions"), [(0.2, 5.4), (0.25, 5.0), (0.33, 4.5), (0.5, 3.4)])
def test_llama_7b_has_the_published_parameter_counts(ratio: float, billions: float) -> None:
    """Table 1 of the paper."""
    made, _ = planned(PruneSpec(model="local:x", ratio=ratio))
    assert made.parameters_before == 6_738_415_616
    assert made.parameters_after / 1e9 == pytest.approx(billions, rel=0.012)
    assert made.channel_multiple == 32


@given(
    ratio=st.floats(0.0, 0.6),
    shape=st.sampled_from(SHAPES),
    layers=st.integers(1, 12),
    kv_heads=st.sampled_from([1, 2, 4, 8]),
    channels=st.integers(64, 700),
    tied=st.booleans(),
    head_unit=st.sampled_from(["kv_group", "query_head"]),
)
@settings(max_examples=150, deadline=None)
def test_every_plan_meets_its_target_or_is_refused(
    ratio: float, shape: str, layers: int, kv_heads: int, channels: int, tied: bool, head_unit: str
) -> None:
    spec = PruneSpec.model_validate(
        {"model": "local:x", "ratio": ratio, "schedule": {"shape": shape}, "head_unit": head_unit}
    )
    sizes = {
        "hidden_size": 256,
        "num_attention_heads": 16,
        "num_key_value_heads": kv_heads,
        "intermediate_size": channels,
        "num_hidden_layers": layers,
        "vocab_size": 512,
        "tie_word_embeddings": tied,
    }
    try:
        made, of = planned(spec, **sizes)
    except UnreachableTargetError:
        return
    target = made.parameters_before * (1 - ratio)
    assert abs(made.parameters_after - target) <= 0.002 * target + 1
    assert made.parameters_after == count(made.after, of)
    for size in made.after:
        assert 1 <= size.kv_heads <= kv_heads
        assert size.heads % size.kv_heads == 0
        assert size.channels == channels or size.channels % made.channel_multiple == 0
        assert size.channels >= 1
        if head_unit == "kv_group":
            assert size.heads == size.kv_heads * (16 // kv_heads)
        else:
            assert size.kv_heads == kv_heads


@given(
    ratio=st.floats(0.0, 0.6),
    layers=st.integers(1, 12),
    kv_heads=st.sampled_from([1, 2, 4, 8]),
    channels=st.integers(64, 700),
    head_unit=st.sampled_from(["kv_group", "query_head"]),
)
@settings(max_examples=100, deadline=None)
def test_layers_that_shall_be_alike_are_as_near_to_the_target_as_a_channel_of_all(
    ratio: float, layers: int, kv_heads: int, channels: int, head_unit: str
) -> None:
    spec = PruneSpec.model_validate(
        {"model": "local:x", "ratio": ratio, "formats": ["uniform"], "head_unit": head_unit}
    )
    sizes = {
        "hidden_size": 256,
        "num_attention_heads": 16,
        "num_key_value_heads": kv_heads,
        "intermediate_size": channels,
        "num_hidden_layers": layers,
        "vocab_size": 512,
    }
    try:
        made, of = planned(spec, **sizes)
    except UnreachableTargetError:
        of = architecture.read(config(**sizes))
        target = count(of.sizes, of) * (1 - ratio)
        per_group = 16 // kv_heads
        pairs = (
            [(n * per_group, n) for n in range(1, kv_heads + 1)]
            if head_unit == "kv_group"
            else [(n * kv_heads, kv_heads) for n in range(1, per_group + 1)]
        )
        possible = [
            count((architecture.LayerSize(*pair, width),) * layers, of)
            for pair in pairs
            for width in range(1, channels + 1)
        ]
        assert min(abs(left - target) for left in possible) > layers * 3 * 256
        return
    assert len(set(made.after)) == 1
    target = made.parameters_before * (1 - ratio)
    assert abs(made.parameters_after - target) <= max(0.002 * target, layers * 3 * 256) + 1
    assert made.parameters_after == count(made.after, of)


@given(
    ratio=st.floats(0.0, 0.5),
    shape=st.sampled_from(SHAPES),
    parts=st.sampled_from([2, 4, 8]),
    head_unit=st.sampled_from(["kv_group", "query_head"]),
    alike=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_devices_share_every_layer(
    ratio: float, shape: str, parts: int, head_unit: str, alike: bool
) -> None:
    spec = PruneSpec.model_validate(
        {
            "model": "local:x",
            "ratio": ratio,
            "tensor_parallel": parts,
            "head_unit": head_unit,
            **({"formats": ["uniform"]} if alike else {"schedule": {"shape": shape}}),
        }
    )
    made, of = planned(spec, num_attention_heads=32, num_key_value_heads=16)
    assert made.parameters_after == count(made.after, of)
    target = made.parameters_before * (1 - ratio)
    assert abs(made.parameters_after - target) <= 0.002 * target + 1
    for size in made.after:
        assert [one % parts for one in (size.heads, size.kv_heads, size.channels)] == [0, 0, 0]


def test_what_does_not_divide_is_refused() -> None:
    spec = PruneSpec(model="local:x", ratio=0.3, tensor_parallel=8)
    with pytest.raises(SpecError, match="layer 0 has 4 KV heads and 11008 FFN channels"):
        planned(spec, num_key_value_heads=4)


def test_ratio_0_leaves_every_layer_as_it_is() -> None:
    made, of = planned(PruneSpec(model="local:x", ratio=0.0))
    assert made.after == made.before == of.sizes


def test_ratio_099_is_unreachable_and_says_what_is() -> None:
    with pytest.raises(UnreachableTargetError, match=r"removes 0\.[78]\d+ of the parameters"):
        planned(PruneSpec(model="local:x", ratio=0.99, recipe="paper"))


def test_a_multiple_that_is_too_coarse_is_refused() -> None:
    spec = PruneSpec(model="local:x", ratio=0.3, channel_multiple=256, recipe="paper")
    small = {"hidden_size": 64, "num_attention_heads": 8, "intermediate_size": 512}
    with pytest.raises(
        UnreachableTargetError, match=r"removes 0\.2\d+ .* smaller channel_multiple"
    ):
        planned(spec, **small, num_hidden_layers=2, vocab_size=64)


def test_a_log_schedule_keeps_more_of_early_layers() -> None:
    made, _ = planned(PruneSpec(model="local:x", ratio=0.3, recipe="paper"))
    channels = [size.channels for size in made.after]
    heads = [size.heads for size in made.after]
    assert channels == sorted(channels, reverse=True)
    assert heads == sorted(heads, reverse=True)


def test_single_query_heads_need_grouped_attention() -> None:
    with pytest.raises(SpecError, match="grouped-query attention"):
        planned(PruneSpec(model="local:x", ratio=0.3, head_unit="query_head"))


def test_biases_count() -> None:
    of = architecture.read(config(num_key_value_heads=8))
    (with_bias, without) = (
        costs.of(of, switches, 10**9, "kv_group", 2).layers[0]
        for switches in ({"attention_bias": True, "mlp_bias": True}, {})
    )
    assert with_bias.unit - without.unit == 128 * (4 + 1 + 1)
    assert with_bias.channel - without.channel == 2


@pytest.mark.parametrize(
    ("target", "ratio"),
    [
        ({"parameters": "5.4B"}, 1 - 5.4e9 / 6_738_415_616),
        ({"parameters": 6_738_415_616}, 0.0),
        ({"memory": "10GiB"}, 1 - 10 * 2**30 / 2 / 6_738_415_616),
    ],
)
def test_targets_in_other_units_are_ratios_of_the_model(
    target: dict[str, Any], ratio: float
) -> None:
    asked = PruneSpec.model_validate({"model": "local:x", **target})
    assert planned(asked)[0] == planned(PruneSpec(model="local:x", ratio=ratio))[0]


@pytest.mark.parametrize("target", [{"parameters": "6.8B"}, {"memory": "13GiB"}])
def test_a_target_above_the_model_is_refused_with_its_size(target: dict[str, Any]) -> None:
    asked = PruneSpec.model_validate({"model": "local:x", **target})
    with pytest.raises(UnreachableTargetError, match=r"only 6,738,415,616 parameters, 12\.55GiB"):
        planned(asked)


def test_a_target_out_of_reach_is_said_in_the_users_words() -> None:
    with pytest.raises(UnreachableTargetError, match="100M parameters cannot be met"):
        planned(PruneSpec.model_validate({"model": "local:x", "parameters": "100M"}))


@pytest.mark.parametrize(
    "target", [{}, {"ratio": 0.2, "memory": "1GiB"}, {"parameters": 5, "memory": 5, "ratio": 0.1}]
)
def test_there_is_exactly_one_target(target: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match="exactly one of `ratio`, `ratios`, `parameters` and `memory`"
    ):
        PruneSpec.model_validate({"model": "local:x", **target})
