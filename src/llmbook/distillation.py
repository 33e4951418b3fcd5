"""Distillation: a small model learns from the probabilities of a larger one."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def distillation_loss(
    student: Float[Tensor, "*batch classes"],
    teacher: Float[Tensor, "*batch classes"],
    temperature: float | int = 1.0,
) -> Float[Tensor, ""]:
    r"""How far a student's probabilities are from the teacher's, both flattened by a temperature.

    $$L = \tau^2 \, \frac1n \sum_i \mathrm{KL}\bigl(\mathrm{softmax}(t_i / \tau) \,\big\|\,
      \mathrm{softmax}(s_i / \tau)\bigr)$$

    in nats, the mean over all $n$ rows. Flattened targets have gradients smaller by about
    $1/\tau^2$. The factor takes that back, so that a mixture with the loss on the true words means
    the same at every temperature. At a high one, for logits that sum to zero over $k$ classes, the
    loss is $\frac{1}{2k} \sum (s - t)^2$: the student copies logits.

    Args:
        student: Its logits.
        teacher: The teacher's, which get no gradient.
        temperature: $\tau$, by which both are divided.

    Raises:
        ValueError: If shapes differ, there is no row, or the temperature is not positive.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0, -1.0]])
        >>> distillation_loss(logits, logits + 3).abs().item() < 1e-6  # softmax forgets a shift
        True

    Source:
        [Hinton et al. 2015][hinton2015distilling], section 2; $\tau^2$ and the limit: section 2.1.
    """
    if student.shape != teacher.shape or student.ndim < 1 or not student.numel():
        raise ValueError(
            "student and teacher must have one shape (..., classes), of at least one row, "
            f"got {tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    ours = F.log_softmax(student.reshape(-1, student.shape[-1]) / temperature, -1)
    theirs = F.log_softmax(teacher.detach().reshape(-1, teacher.shape[-1]) / temperature, -1)
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
