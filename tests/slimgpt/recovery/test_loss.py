"""The chunked losses and the top-k divergence, against torch's own on whole logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from slimgpt.recovery import loss

TOKENS, WIDTH, WORDS = 23, 6, 17


def logits(seed: int, spread: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return spread * torch.randn(TOKENS, WORDS, generator=generator, dtype=torch.float64)


def full_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """torch's, of the whole distributions."""
    log_q, log_p = ((one / temperature).log_softmax(-1) for one in (student, teacher))
    found = nn.functional.kl_div(log_q, log_p, reduction="sum", log_target=True)
    return found * temperature**2


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("count", [WORDS, WORDS + 9])
def test_all_of_the_vocabulary_is_the_whole_divergence(count: int, temperature: float) -> None:
    student, teacher = logits(0).float().requires_grad_(), logits(1).float()
    known = loss.top_k(teacher, count, temperature)
    found = loss.divergence(student, known, temperature)
    (gradient,) = torch.autograd.grad(found, student)
    expected = full_divergence(student, teacher, temperature)
    (wanted,) = torch.autograd.grad(expected, student)
    torch.testing.assert_close(found.detach(), expected.detach())
    torch.testing.assert_close(gradient, wanted)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, WORDS - 1), st.sampled_from([0.5, 1.0, 3.0]), st.integers(0, 99))
def test_the_rest_counts_as_one_event(count: int, temperature: float, seed: int) -> None:
    """The divergence of the two distributions after the rest was merged, by its definition."""
    student, teacher = logits(seed), logits(seed + 100)
    known = loss.top_k(teacher, count, temperature)
    found = float(loss.divergence(student, known, temperature))
    p, q = ((one / temperature).softmax(-1) for one in (teacher, student))
    order = p.argsort(-1, descending=True)
    p, q = p.gather(-1, order), q.gather(-1, order)
    p, q = (torch.cat([one[:, :count], one[:, count:].sum(-1, keepdim=True)], -1) for one in (p, q))
    expected = float((p * (p / q).log()).sum()) * temperature**2
    assert found == pytest.approx(expected, rel=1e-4)
    whole = float(full_divergence(student, teacher, temperature))
    assert found <= whole * (1 + 1e-4)


def test_a_student_that_agrees_has_no_loss_and_no_gradient() -> None:
    teacher = logits(3).float()
    student = teacher.clone().requires_grad_()
    found = loss.divergence(student, loss.top_k(teacher, 4), 1.0)
    (gradient,) = torch.autograd.grad(found, student)
    assert float(found.detach()) == pytest.approx(0.0, abs=1e-4)
    assert float(gradient.abs().max()) < 1e-6


def test_a_teacher_that_is_sure_leaves_a_rest_that_is_not_lost_to_rounding() -> None:
    sure = torch.zeros(1, WORDS)
    sure[0, 3] = 40.0
    known = loss.top_k(sure, 1)
    expected = (sure.double().softmax(-1)[0, 4] * (WORDS - 1)).log()
    assert float(known.rest[0]) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("chunk", [1, 5, TOKENS, 99])
@pytest.mark.parametrize("distils", [False, True])
def test_chunks_add_up_to_the_loss_and_gradient_of_the_whole(chunk: int, distils: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(TOKENS, WIDTH, generator=generator).requires_grad_()
    table = torch.randn(WORDS, WIDTH, generator=generator)
    labels = torch.arange(TOKENS) % WORDS
    teacher = logits(5).float()
    known = loss.top_k(teacher, WORDS)

    def head(hidden_TD: Tensor) -> Tensor:
        return nn.functional.rms_norm(hidden_TD, (WIDTH,)) @ table.T

    def of(logits_TV: Tensor, which: slice) -> Tensor:
        if distils:
            return loss.divergence(logits_TV, known[which])
        return loss.cross_entropy(logits_TV, labels[which])

    found = 2.0 * loss.over_chunks(hidden, head, of, chunk)
    (gradient,) = torch.autograd.grad(found, hidden)
    whole = head(hidden)
    plain = nn.functional.cross_entropy(whole, labels, reduction="sum")
    expected = 2.0 * (full_divergence(whole, teacher, 1.0) if distils else plain)
    (wanted,) = torch.autograd.grad(expected, hidden)
    torch.testing.assert_close(found.detach(), expected.detach())
    torch.testing.assert_close(gradient, wanted)
    with torch.no_grad():
        again = 2.0 * loss.over_chunks(hidden, head, of, chunk)
    torch.testing.assert_close(again, expected.detach())
