"""Number formats: what an environment asks for does not reach the Hessian."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from slimgpt.errors import SpecError
from slimgpt.machine import precision


@pytest.fixture
def tf32_asked_for() -> Iterator[None]:
    """As containers with CUDA do by a variable."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("tf32_asked_for")
def test_choosing_a_device_switches_tf32_off() -> None:
    precision.device_for("cpu")
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(SpecError, match="device 'cuda:99' is not available"):
        precision.device_for("cuda:99")


@pytest.mark.parametrize("width", [12, precision.STRIP + 1, 3 * precision.STRIP])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_gram_matrix_loses_no_digits_of_its_inputs(dtype: torch.dtype, width: int) -> None:
    X = torch.randn(700, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    gram = precision.gram(X)
    assert gram.dtype == torch.float32
    assert torch.equal(gram, gram.T)
    assert torch.allclose(gram.double(), X.double().T @ X.double(), rtol=1e-5, atol=1e-3)
