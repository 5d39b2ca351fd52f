"""Choice of device and dtypes, in one place."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from slimgpt.errors import SpecError
from slimgpt.machine import memory

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


STRIP = 384
"""Columns of a symmetric product that a CPU multiplies at a time."""


def device_for(name: str) -> torch.device:
    """The device of a name; `auto` is the GPU if there is one, else the CPU.

    Also turns TF32 off and keeps freed memory, see `refuse_tf32` and `memory.keep_freed`.

    Raises:
        SpecError: this machine has no such device.
    """
    refuse_tf32()
    memory.keep_freed()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(
            f"device {name!r} is not available: {str(error).splitlines()[0]}",
            hint="use cpu, auto (the GPU if there is one), or a device of this machine",
        ) from error
    return device


def refuse_tf32() -> None:
    """Turn TF32 off for float32 matrix products.

    CUDA containers turn it on by TORCH_ALLOW_TF32_CUBLAS_OVERRIDE; its ten bits of mantissa are too
    few for Hessians and their inverses.
    """
    torch.set_float32_matmul_precision("highest")


def training_products(device: torch.device, dtype: str) -> AbstractContextManager[Any]:
    """The context in which a training multiplies matrices: in bfloat16 where that is faster.

    It is on GPUs with bfloat16; and on CPUs with instructions for it, AMX or AVX512-BF16, where
    models that are stored in float32 are spared it. Sums are float32 either way.

    Args:
        dtype: of the checkpoint.
    """
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported()
    else:
        fast = dtype != "float32" and multiplies_bfloat16()
    return torch.autocast(device.type, torch.bfloat16) if fast else nullcontext()


def multiplies_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 at twice the speed of float32 or more."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def factor_dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """Dtypes for factorisations, in the order in which they are tried."""
    return (torch.float64,) if device.type == "cpu" else (torch.float32, torch.float64)


def sum_dtype(device: torch.device) -> torch.dtype:
    """The dtype in which Gram matrices are summed over batches."""
    return torch.float64 if device.type == "cpu" else torch.float32


def gram(X_TI: Tensor) -> Tensor:
    """X Xᵀ of one batch in float32 or better, (I, I).

    Args:
        X_TI: inputs (tokens, inputs), checkpoint dtype. On a GPU, 16-bit inputs are multiplied
            without conversion and accumulated in float32: the same products, ten times as fast. On
            a CPU only the strips right of the diagonal are multiplied, and mirrored: two thirds of
            the time at 1,536 inputs.
    """
    if X_TI.is_cuda and X_TI.dtype != torch.float32:
        return torch.mm(X_TI.T, X_TI, out_dtype=torch.float32)
    X_TI = X_TI.float()
    width = X_TI.shape[1]
    if X_TI.is_cuda or width <= STRIP:
        return X_TI.T @ X_TI
    gram_II = X_TI.new_empty(width, width)
    for start in range(0, width, STRIP):
        end = min(start + STRIP, width)
        strip = X_TI[:, start:end].T @ X_TI[:, start:]
        gram_II[start:end, start:] = strip
        gram_II[end:, start:end] = strip[:, end - start :].T
    return gram_II
