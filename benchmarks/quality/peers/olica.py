"""Olica: every head is kept and cut within, the FFN thinned and calibrated (He and Lin 2025).

After the paper and its program (`--k 3 --percdamp 0.5 --ratio 0.03 --mlp_num 6`), with what grouped
query attention asks for beyond them:

1. Orthogonal neuron decomposition, fast form: per KV head the output weights of its query heads,
   side by side and weighted by the root mean square of the outputs, are decomposed; values and
   outputs are turned by the left singular vectors, which changes nothing.
2. Of each KV head the turned neurons of least importance leave: the norms of their weights, times
   the root mean square of what these multiply (Wanda), value and output added.
3. Queries and keys: each projection, weighted by its inputs' root mean square, as two factors.
4. FFN channels leave by the same importance; the hundredth part of least importance stays, as in
   the program.
5. Linear calibration: in 6 of 32 layers, those whose FFN is most linear, what the FFN lost is
   regressed on its input with a ridge, and added by two factors of rank 0.03 D.

Shares: of values and outputs 2 s / (1 + k), of queries and keys 2 s up to s = 0.4 and k times
those of values beyond, s the share of all parameters; FFN channels make up the rest, alike in all
layers. Heads are then narrower than the stock attention's, which is given zeros in their place.

Names end in their shape: D hidden size, O outputs, I inputs, H width of a head, T tokens, R rank.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.quality.peers import units
from benchmarks.quality.peers.stream import Stream

K = 3.0  # share of queries and keys to that of values and outputs
RIDGE = 0.5  # of the mean second moment, at 16,384 tokens
RIDGE_TOKENS = 128 * 128
CALIBRATED = 6 / 32  # of the layers
RANK = 0.03  # of the hidden size
SPARED = 0.01  # of the channels
SHARPNESS = 0.05  # of the weights of outputs in the calibration


@dataclass(frozen=True)
class Plan:
    """What is left of every layer.

    Attributes:
        query, key: ranks of the projections.
        value: width of each head's values.
        channels: of the FFN.
        calibrated: layers whose FFN is calibrated.
    """

    query: int
    key: int
    value: int
    channels: int
    calibrated: frozenset[int]


@torch.no_grad()
def prune(model: Any, windows_NS: Tensor, target: int) -> str:
    """Decompose, thin and calibrate; says what is left of every layer.

    Args:
        model: of transformers; changed in place.
        windows_NS: int64.
        target: parameters to leave.

    Raises:
        SpecError: the FFNs hold too little.
    """
    layers, losses = list(model.model.layers), []
    stream = Stream(model, windows_NS)
    for index, layer in enumerate(layers):
        seen = Seen(layer)
        stream.batches_BSD = seen.run(stream, index)
        turn_values(layer.self_attn, seen.out)
        _, correlation = regression(*seen.ffn)
        losses.append(1 - float(correlation.mean()))
    plan = plan_for(model, target, losses)
    stream = Stream(model, windows_NS)
    for index, layer in enumerate(layers):
        seen = Seen(layer)
        seen.run(stream, index)
        cut_attention(layer.self_attn, seen, plan)
        units.keep_channels(layer.mlp, important_channels(layer.mlp, seen, plan.channels))
        if index in plan.calibrated:
            layer.mlp = Calibrated(layer.mlp, *calibration(layer.mlp, *seen.ffn))
        stream.advance(index, layer)
    return (
        f"ranks {plan.query} of queries and {plan.key} of keys, {plan.value} values a head, "
        f"{plan.channels} channels, {len(plan.calibrated)} layers calibrated"
    )


def plan_for(model: Any, target: int, losses: list[float]) -> Plan:
    """Ranks and widths by the program's shares; FFN channels meet the target.

    Args:
        losses: of each layer, the share of its FFN that is not linear.
    """
    layers, hidden = list(model.model.layers), model.config.hidden_size
    attention, mlp = layers[0].self_attn, layers[0].mlp
    whole = units.size(model)
    share = 1 - target / whole
    values = 2 * share / (1 + K)
    queries = 2 * share if share <= 0.4 else K * values
    ranks = [_rank(linear, queries) for linear in (attention.q_proj, attention.k_proj)]
    width = attention.head_dim - int(values * attention.head_dim)
    order = sorted(range(len(layers) - 1), key=losses.__getitem__)  # never the last
    calibrated = frozenset(order[: round(CALIBRATED * len(layers))])
    query, kv = units.heads(attention)
    before = sum(linear.weight.numel() for linear in _attention(attention))
    after = (
        sum(
            rank * (linear.in_features + linear.out_features)
            for rank, linear in zip(ranks, (attention.q_proj, attention.k_proj), strict=True)
        )
        + width * (kv + query) * hidden
    )
    added = len(calibrated) * 2 * hidden * max(1, int(RANK * hidden))
    excess = whole - target + added - (before - after) * len(layers)
    each = units.size(mlp) // mlp.gate_proj.out_features
    channels = units.channels_to_keep(mlp.gate_proj.out_features, excess, each, len(layers))
    return Plan(ranks[0], ranks[1], width, channels, calibrated)


class Seen:
    """What a layer's projections read and write on the calibration windows.

    Attributes:
        inputs: root mean squares of what each projection reads, (I,) float32.
        out: of what `o_proj` writes, (D,).
        ffn: what the FFN reads and writes, (T, D) float32 each.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._squares: dict[str, Tensor] = {}
        self._reads: list[Tensor] = []
        self._writes: list[Tensor] = []
        self._tokens = 0

    def run(self, stream: Stream, index: int) -> list[Tensor]:
        """Watch the layer on the stream; returns what it makes of it."""
        attention, mlp = self._layer.self_attn, self._layer.mlp
        named = {name: getattr(attention, name) for name in ("q_proj", "v_proj", "o_proj")}
        named |= {"gate_proj": mlp.gate_proj, "down_proj": mlp.down_proj}
        hooks = [one.register_forward_hook(self._reading(name)) for name, one in named.items()]
        hooks.append(mlp.register_forward_hook(self._watch_ffn))
        try:
            return stream.through(index, self._layer)
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Root mean squares of what each projection reads."""
        return {name: (found / self._tokens).sqrt() for name, found in self._squares.items()}

    @property
    def out(self) -> Tensor:
        """Root mean square of what `o_proj` writes."""
        return self.inputs["out"]

    @property
    def ffn(self) -> tuple[Tensor, Tensor]:
        """What the FFN reads and writes."""
        return torch.cat(self._reads), torch.cat(self._writes)

    def _reading(self, name: str) -> Any:
        def note(_: nn.Module, read: tuple[Tensor], written: Tensor) -> None:
            self._add(name, read[0])
            if name == "o_proj":
                self._add("out", written)

        return note

    def _add(self, name: str, value: Tensor) -> None:
        squares = value.flatten(0, -2).float().square().sum(0)
        self._squares[name] = self._squares.get(name, torch.zeros_like(squares)) + squares

    def _watch_ffn(self, _: nn.Module, read: tuple[Tensor], written: Tensor) -> None:
        self._reads.append(read[0].flatten(0, -2).float())
        self._writes.append(written.flatten(0, -2).float())
        self._tokens += len(self._reads[-1])


def turn_values(attention: Any, out_D: Tensor) -> None:
    """Turn values and outputs of each KV head to orthogonal neurons; their product stays."""
    query, kv = units.heads(attention)
    values_GHD = attention.v_proj.weight.view(kv, attention.head_dim, -1).double()
    outputs_DGQH = attention.o_proj.weight.view(-1, kv, query // kv, attention.head_dim).double()
    weighted_GHX = (outputs_DGQH * out_D.double()[:, None, None, None]).permute(1, 3, 2, 0)
    turn_GHH = torch.linalg.svd(weighted_GHX.flatten(2), full_matrices=False).U
    values_GHD = turn_GHH.mT @ values_GHD
    outputs_DGQH = torch.einsum("dgqh,ghk->dgqk", outputs_DGQH, turn_GHH)
    attention.v_proj.weight.copy_(values_GHD.flatten(0, 1))
    attention.o_proj.weight.copy_(outputs_DGQH.flatten(1))
    if attention.v_proj.bias is not None:
        bias_GH1 = attention.v_proj.bias.view(kv, -1, 1).double()
        attention.v_proj.bias.copy_((turn_GHH.mT @ bias_GH1).flatten())


def cut_attention(attention: Any, seen: Seen, plan: Plan) -> None:
    """Queries and keys as two factors, heads' values narrower."""
    reads_D = seen.inputs["q_proj"]
    attention.q_proj = factors(attention.q_proj, reads_D, plan.query)
    attention.k_proj = factors(attention.k_proj, reads_D, plan.key)
    kept_GH = important_values(attention, seen, plan.value)
    width, (kv, _) = attention.head_dim, kept_GH.shape
    per_group = attention.num_key_value_groups
    starts_G = torch.arange(kv, device=kept_GH.device)[:, None] * width
    rows = (kept_GH + starts_G).flatten()
    starts_Q = torch.arange(kv * per_group, device=kept_GH.device)[:, None] * width
    columns = (kept_GH.repeat_interleave(per_group, dim=0) + starts_Q).flatten()
    attention.v_proj = NarrowValues(units.rows(attention.v_proj, rows), plan.value, width)
    attention.o_proj = NarrowOutputs(units.columns(attention.o_proj, columns), plan.value, width)


def important_values(attention: Any, seen: Seen, width: int) -> Tensor:
    """The neurons to keep of each KV head, ascending, (G, width) int64."""
    kv = attention.v_proj.out_features // attention.head_dim
    per_group = attention.num_key_value_groups
    values = (attention.v_proj.weight.float() * seen.inputs["v_proj"]).square().sum(1)
    outputs = (attention.o_proj.weight.float() * seen.inputs["o_proj"]).square().sum(0)
    outputs_GH = outputs.view(kv, per_group, -1).sum(1)
    scores_GH: Tensor = values.view(kv, -1).sqrt() + outputs_GH.sqrt()
    return scores_GH.argsort(dim=1, descending=True)[:, :width].sort(dim=1).values


def important_channels(mlp: Any, seen: Seen, count: int) -> Tensor:
    """The FFN channels to keep, ascending, (count,) int64."""
    reads_D, inside_C = seen.inputs["gate_proj"], seen.inputs["down_proj"]
    scores_C = (mlp.down_proj.weight.float() * inside_C).norm(dim=0)
    for linear in (mlp.up_proj, mlp.gate_proj):
        scores_C += (linear.weight.float() * reads_D).norm(dim=1)
    order_C = scores_C.argsort()
    spared = min(int(SPARED * len(order_C)), count)
    least, best = order_C[:spared], order_C[len(order_C) - (count - spared) :]
    return torch.cat([least, best]).sort().values


def factors(linear: nn.Linear, reads_I: Tensor, rank: int) -> nn.Sequential:
    """A projection as two factors: best for inputs of such root mean squares."""
    reads_I = reads_I.double().clamp_min(1e-12)
    U_OR, S_R, V_RI = torch.linalg.svd(linear.weight.double() * reads_I, full_matrices=False)
    into_RI = (V_RI[:rank] / reads_I).to(linear.weight.dtype)
    out_OR = (U_OR[:, :rank] * S_R[:rank]).to(linear.weight.dtype)
    return nn.Sequential(units.of_weight(into_RI), units.of_weight(out_OR, linear.bias))


def calibration(mlp: Any, reads_TD: Tensor, writes_TD: Tensor) -> tuple[nn.Linear, nn.Linear]:
    """Two factors that give back what a thinned FFN lost, as far as it is linear in its input."""
    dtype = mlp.down_proj.weight.dtype
    thin_TD = torch.cat([mlp(part.to(dtype)).float() for part in torch.split(reads_TD, 2048)])
    solution_DD, correlation_D = regression(reads_TD, writes_TD - thin_TD)
    weight_D = torch.sigmoid((correlation_D - correlation_D.mean()) / SHARPNESS)
    U_DR, S_R, V_RD = torch.linalg.svd(solution_DD * weight_D, full_matrices=False)
    rank = max(1, int(RANK * len(S_R)))
    into_RD = (U_DR[:, :rank] * S_R[:rank]).T
    out_DR = (V_RD[:rank] / weight_D).T
    return units.of_weight(into_RD.to(dtype)), units.of_weight(out_DR.to(dtype))


def regression(X_TD: Tensor, Y_TD: Tensor) -> tuple[Tensor, Tensor]:
    """Ridge regression of Y on X, and the correlation of each of its outputs with Y's.

    Returns:
        (D, D) and (D,) float64.
    """
    X_TD, Y_TD = X_TD.double(), Y_TD.double()
    H_DD = X_TD.T @ X_TD
    H_DD.diagonal().add_(RIDGE * H_DD.diagonal().mean() * RIDGE_TOKENS / len(X_TD))
    solution_DD = torch.cholesky_solve(X_TD.T @ Y_TD, torch.linalg.cholesky(H_DD))
    fitted_TD = X_TD @ solution_DD
    correlation_D = nn.functional.cosine_similarity(
        fitted_TD - fitted_TD.mean(0), Y_TD - Y_TD.mean(0), dim=0
    )
    return solution_DD, correlation_D


class NarrowValues(nn.Module):
    """Values of narrow heads, filled up with zeros to the stock width."""

    def __init__(self, inner: nn.Linear, narrow: int, width: int) -> None:
        super().__init__()
        self.inner, self._narrow, self._width = inner, narrow, width

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, D) → (…, heads · width)."""
        values: Tensor = self.inner(hidden)
        heads = values.view(*values.shape[:-1], -1, self._narrow)
        return nn.functional.pad(heads, (0, self._width - self._narrow)).flatten(-2)


class NarrowOutputs(nn.Module):
    """The output projection of narrow heads that were filled up."""

    def __init__(self, inner: nn.Linear, narrow: int, width: int) -> None:
        super().__init__()
        self.inner, self._narrow, self._width = inner, narrow, width

    def forward(self, heads: Tensor) -> Tensor:
        """(…, heads · width) → (…, D)."""
        narrow = heads.reshape(*heads.shape[:-1], -1, self._width)[..., : self._narrow]
        found: Tensor = self.inner(narrow.flatten(-2))
        return found


class Calibrated(nn.Module):
    """A thinned FFN, and the linear part of what it lost."""

    def __init__(self, thin: nn.Module, into: nn.Linear, out: nn.Linear) -> None:
        super().__init__()
        self.thin, self.into, self.out = thin, into, out

    def forward(self, hidden: Tensor) -> Tensor:
        """(…, D) → (…, D)."""
        found: Tensor = self.thin(hidden) + self.out(self.into(hidden))
        return found


def _rank(linear: nn.Linear, removed: float) -> int:
    """The rank at which two factors hold so much less than the whole."""
    whole, each = linear.weight.numel(), linear.in_features + linear.out_features
    return max(1, math.ceil((1 - removed) * whole / each))


def _attention(attention: Any) -> list[nn.Linear]:
    return [attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj]
