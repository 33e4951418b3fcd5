"""Learning from preferences between two answers, without a model of reward: DPO."""

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Real = float | int


def sequence_log_probs(
    model: nn.Module, token_ids: Int[Tensor, "batch seq"], answer: Bool[Tensor, "*#batch seq"]
) -> Float[Tensor, " batch"]:
    r"""The log-probability of the tokens of an answer, given all before each.

    $$\log \pi(y \mid x) = \sum_{t \in y} \log p(y_t \mid x, y_{<t})$$

    Args:
        model: Gives logits for token ids.
        token_ids: Prompts with their answers.
        answer: Which tokens are of the answer. The first of a text has nothing before it, and
            cannot be.

    Raises:
        ValueError: If the first token is one of an answer.
    """
    if answer[..., 0].any():
        raise ValueError("the first token of a text cannot be of the answer: nothing predicts it")
    logits = model(token_ids[:, :-1])
    given = token_ids[:, 1:].long().unsqueeze(-1)
    log_probs = F.log_softmax(logits, -1).gather(-1, given).squeeze(-1)
    return (log_probs * answer[..., 1:]).sum(-1)


def implicit_reward(
    policy: Float[Tensor, " batch"], reference: Float[Tensor, " batch"], beta: Real = 0.1
) -> Float[Tensor, " batch"]:
    r"""What an answer is worth to a policy, by how much likelier than the reference it finds it.

    $$r(x, y) = \beta \log \frac{\pi(y \mid x)}{\pi_\mathrm{ref}(y \mid x)}$$

    up to a number that is the same for all answers to a prompt.

    Source:
        [Rafailov et al. 2023][rafailov2023direct], equation 5.
    """
    return beta * (policy - reference)


def dpo_loss(
    policy_chosen: Float[Tensor, " batch"],
    policy_rejected: Float[Tensor, " batch"],
    reference_chosen: Float[Tensor, " batch"],
    reference_rejected: Float[Tensor, " batch"],
    beta: Real = 0.1,
) -> Float[Tensor, ""]:
    r"""Direct preference optimisation: the chosen answer shall have the larger implicit reward.

    $$L = -\log \sigma\bigl(r(x, y_\mathrm{chosen}) - r(x, y_\mathrm{rejected})\bigr)$$

    the mean over pairs. A policy that is still the reference has the loss $\log 2$.

    Args:
        policy_chosen: Log-probability that the policy gives to each chosen answer.
        policy_rejected: To each rejected one.
        reference_chosen: That the reference gives, which is not trained.
        reference_rejected: Likewise.
        beta: How dear it is to leave the reference: the smaller, the further the policy may go.

    Raises:
        ValueError: If `beta` is not positive.

    Examples:
        >>> import torch
        >>> same = torch.tensor([-3.0])
        >>> dpo_loss(same, same, same, same)
        tensor(0.6931)

    Source:
        [Rafailov et al. 2023][rafailov2023direct], equation 7.
    """
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    chosen = implicit_reward(policy_chosen, reference_chosen, beta)
    rejected = implicit_reward(policy_rejected, reference_rejected, beta)
    return -F.logsigmoid(chosen - rejected).mean()
