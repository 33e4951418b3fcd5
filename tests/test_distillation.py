import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.distillation import distillation_loss


def logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 6), classes=st.integers(1, 7), temperature=st.floats(0.2, 20))
def test_it_is_scipys_relative_entropy_times_the_square_of_the_temperature(  # type: ignore[no-untyped-def]
    rows, classes, temperature
) -> None:
    from scipy.special import rel_entr, softmax

    student, teacher = logits(rows, classes), logits(rows, classes, seed=1)
    p, q = (softmax(x.numpy() / temperature, axis=-1) for x in (teacher, student))
    expected = temperature**2 * rel_entr(p, q).sum(-1).mean()
    assert distillation_loss(student, teacher, temperature).item() == pytest.approx(
        expected, abs=1e-10
    )


def test_the_gradient_is_the_difference_of_probabilities_times_the_temperature() -> None:
    student, teacher, t = logits(4, 5).requires_grad_(), logits(4, 5, seed=1), 3.0
    (gradient,) = torch.autograd.grad(distillation_loss(student, teacher, t), student)
    torch.testing.assert_close(
        gradient, t * ((student / t).softmax(-1) - (teacher / t).softmax(-1)) / 4
    )


def test_at_a_high_temperature_the_student_copies_logits() -> None:
    student, teacher = (x - x.mean(-1, keepdim=True) for x in (logits(4, 5), logits(4, 5, seed=1)))
    limit = (student - teacher).square().sum(-1).mean() / (2 * 5)
    assert distillation_loss(student, teacher, 1e4).item() == pytest.approx(limit.item(), rel=1e-3)


def test_sure_targets_at_temperature_one_are_cross_entropy() -> None:
    targets = torch.tensor([0, 2, 1])
    teacher = 1e3 * F.one_hot(targets, 3).double()
    assert distillation_loss(logits(3, 3), teacher).item() == pytest.approx(
        F.cross_entropy(logits(3, 3), targets).item()
    )


def test_the_teacher_gets_no_gradient_and_the_same_logits_cost_nothing() -> None:
    teacher = logits(2, 3).requires_grad_()
    student = teacher.detach().clone().requires_grad_()
    loss = distillation_loss(student, teacher, 2)
    loss.backward()
    assert loss.item() == pytest.approx(0)
    assert teacher.grad is None


def test_rows_count_alike_whatever_axes_they_are_in() -> None:
    student, teacher = logits(6, 3), logits(6, 3, seed=1)
    flat = distillation_loss(student, teacher, 2)
    assert distillation_loss(
        student.view(2, 3, 3), teacher.view(2, 3, 3), 2
    ).item() == pytest.approx(flat.item())
    assert distillation_loss(student[0], teacher[0], 2).item() == pytest.approx(
        distillation_loss(student[:1], teacher[:1], 2).item()
    )


@pytest.mark.plain
def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"must have one shape .* got \(2, 3\) and \(2, 4\)"):
        distillation_loss(logits(2, 3), logits(2, 4))
    with pytest.raises(ValueError, match="of at least one row"):
        distillation_loss(logits(0, 3), logits(0, 3))
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        distillation_loss(logits(2, 3), logits(2, 3), 0)
