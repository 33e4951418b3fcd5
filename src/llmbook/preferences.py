"""Preferences: a model learns which of two texts is the better one, without a model of reward."""

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Scores = Float[Tensor, " pairs"]


def sequence_log_probs(
    model: nn.Module, token_ids: Int[Tensor, "batch seq"], mask: Bool[Tensor, "batch seq"]
) -> Float[Tensor, " batch"]:
    r"""Log-probability of each text, or of the part of it that counts, given what stands before.

    $$\log \pi(y \mid x) = \sum_{t \in y} \log p(x_t \mid x_{<t})$$

    Args:
        model: Gives logits for the token after each.
        token_ids: Prompts $x$ with their answers $y$.
        mask: True for the tokens of the answer. The first token has nothing before it, and never
            counts.

    Returns:
        A sum, in nats, for each text; longer answers are less probable.

    Raises:
        ValueError: If the mask has another shape than the texts, or the texts have one token.

    Examples:
        >>> import torch
        >>> class Even(nn.Module):
        ...     def forward(self, token_ids):
        ...         return torch.zeros(*token_ids.shape, 4)  # four tokens, all alike
        >>> answer = torch.tensor([[False, True, True]])
        >>> sequence_log_probs(Even(), torch.tensor([[0, 1, 2]]), answer).exp()
        tensor([0.0625])

    Source:
        [Rafailov et al. 2023][rafailov2023direct], whose $\pi$ this is.
    """
    if mask.shape != token_ids.shape or token_ids.shape[1] < 2:
        raise ValueError(
            "mask must have the shape of token_ids, which are two or more tokens long, "
            f"got {tuple(mask.shape)} and {tuple(token_ids.shape)}"
        )
    logits = model(token_ids[:, :-1])
    expected = token_ids[:, 1:].long()
    each = -F.cross_entropy(logits.flatten(0, 1), expected.flatten(), reduction="none")
    return each.reshape(expected.shape).masked_fill(~mask[:, 1:], 0).sum(1)


def implicit_rewards(
    policy: Scores, reference: Scores, beta: float | int = 0.1
) -> Float[Tensor, " pairs"]:
    r"""The reward for which a model would be the best answer: how far it has moved.

    $$\hat r(x, y) = \beta \log \frac{\pi_\theta(y \mid x)}{\pi_\text{ref}(y \mid x)}$$

    Up to a number that depends on the prompt alone, and cancels between two of its answers.

    Args:
        policy: Log-probabilities of answers, by the model that learns.
        reference: The same by the model from which it set out.
        beta: $\beta$, the price of moving away from the reference.

    Raises:
        ValueError: If `beta` is not positive.

    Examples:
        >>> import torch
        >>> implicit_rewards(torch.tensor([-3.0]), torch.tensor([-5.0]))
        tensor([0.2000])

    Source:
        [Rafailov et al. 2023][rafailov2023direct], section 4.
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    return beta * (policy - reference)


def dpo_loss(
    policy_chosen: Scores,
    policy_rejected: Scores,
    reference_chosen: Scores,
    reference_rejected: Scores,
    beta: float | int = 0.1,
) -> Float[Tensor, ""]:
    r"""Direct preference optimisation: the better answer should gain more than the worse one.

    $$\mathcal{L} = -\operatorname{mean} \log \sigma\left(
      \beta \log \frac{\pi_\theta(y_w \mid x)}{\pi_\text{ref}(y_w \mid x)}
      - \beta \log \frac{\pi_\theta(y_l \mid x)}{\pi_\text{ref}(y_l \mid x)} \right)$$

    It is the loss of a classifier that says which of two answers was preferred, by the difference
    of their `implicit_rewards`. Before the first step that is 0, and the loss $\log 2$.

    Args:
        policy_chosen: Log-probabilities of the preferred answers $y_w$, by the model that learns.
        policy_rejected: Of the others, $y_l$.
        reference_chosen: Of the preferred ones by the model from which it set out.
        reference_rejected: Of the others by that model.
        beta: $\beta$. The larger, the sooner a difference is large enough.

    Raises:
        ValueError: If `beta` is not positive.

    Examples:
        >>> import torch
        >>> same = torch.tensor([-40.0, -35.0])
        >>> dpo_loss(same, same - 2, same, same - 2)
        tensor(0.6931)

    Source:
        [Rafailov et al. 2023][rafailov2023direct], equation 7.
    """
    chosen = implicit_rewards(policy_chosen, reference_chosen, beta)
    rejected = implicit_rewards(policy_rejected, reference_rejected, beta)
    return -F.logsigmoid(chosen - rejected).mean()
