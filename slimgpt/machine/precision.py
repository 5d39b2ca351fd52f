"""Choice of device and dtypes, in one place (ALGORITHM section 6, "Precision")."""

from __future__ import annotations

import torch
from torch import Tensor

from slimgpt.errors import SpecError

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def device_for(name: str) -> torch.device:
    """The device that `name` stands for; `auto` is the GPU if there is one, else the CPU.

    From here on float32 products are float32 products: see `refuse_tf32`.

    Raises:
        SpecError: there is no such device.
    """
    refuse_tf32()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(
            f"device {name!r} is not available here: {str(error).splitlines()[0]}",
            hint="use cpu, auto (the GPU if there is one), or a device that this machine has",
        ) from error
    return device


def refuse_tf32() -> None:
    """Multiply float32 as float32, whatever the environment asks for.

    Containers with CUDA switch TF32 on by a variable (TORCH_ALLOW_TF32_CUBLAS_OVERRIDE); its ten
    bits of mantissa are too few for Hessians and their inverses.
    """
    torch.set_float32_matmul_precision("highest")


def factor_dtypes(device: torch.device) -> tuple[torch.dtype, ...]:
    """Formats of factorisations, in the order in which they are tried."""
    return (torch.float64,) if device.type == "cpu" else (torch.float32, torch.float64)


def sum_dtype(device: torch.device) -> torch.dtype:
    """Format in which Gram matrices are summed over batches."""
    return torch.float64 if device.type == "cpu" else torch.float32


def gram(X_TI: Tensor) -> Tensor:
    """X Xᵀ of one batch in float32 or better, (I, I).

    Args:
        X_TI: inputs (tokens, inputs), checkpoint dtype. On a GPU, 16-bit inputs are multiplied as
            they are and accumulated in float32: the same products, ten times as fast.
    """
    if X_TI.is_cuda and X_TI.dtype != torch.float32:
        return torch.mm(X_TI.T, X_TI, out_dtype=torch.float32)
    X_TI = X_TI.float()
    return X_TI.T @ X_TI
