"""Masked diffusion: a model that fills in masks writes whole texts, several tokens at a time."""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from itertools import combinations
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.layers import widened
from llmbook.sizes import whole
from llmbook.training import evaluating

TokenIds = Int[Tensor, "batch seq"]
Model = Callable[[Tensor], Any]
"""Gives logits for token ids, alone or first in a tuple, as `llmbook.bert.Bert` does."""

ORDERS: Final = ("random", "surest", "left")
_LONGEST = 16  # a text of whose tokens all sets are gone through


def token_log_probs(
    model: Model, token_ids: TokenIds, mask_id: int, temperature: float | int = 1.0
) -> Float[Tensor, "batch seq vocab"]:
    """What a model holds likely at each position; the mask is never what stood there.

    Args:
        model: Reads texts with masks in them.
        token_ids: Those texts.
        mask_id: The token that hides others.
        temperature: By which logits are divided.
    """
    logits = model(token_ids)
    logits = widened(logits[0] if isinstance(logits, tuple) else logits)
    never = torch.arange(logits.shape[-1], device=logits.device) == mask_id
    return F.log_softmax((logits / temperature).masked_fill(never, -math.inf), -1)


def hide(
    token_ids: TokenIds, mask_id: int, *, generator: torch.Generator
) -> tuple[TokenIds, Float[Tensor, " batch"]]:
    r"""Mask each token of a text with a probability $t$ of the text's own, from (0, 1].

    The rates of a batch are evenly spaced, all shifted by the same random number: each is
    uniform, and together they are less noisy than if they were drawn one by one.

    Args:
        token_ids: Texts.
        mask_id: The token that hides others, and stands in none of them.
        generator: Where the randomness comes from, on the tokens' device.

    Returns:
        The texts with masks, and their rates $t$.

    Raises:
        ValueError: If the mask is one of the tokens.

    Examples:
        >>> texts = torch.arange(8).repeat(2, 1)
        >>> hide(texts, mask_id=9, generator=torch.Generator().manual_seed(2))
        (tensor([[0, 1, 2, 3, 4, 5, 9, 7],
                [9, 9, 9, 9, 4, 9, 6, 7]]), tensor([0.1927, 0.6927]))

    Source:
        [Sahoo et al. 2024][sahoo2024simple], section 3.
    """
    _check(token_ids, mask_id)
    at: dict[str, Any] = {"generator": generator, "device": token_ids.device}
    places = torch.arange(1, len(token_ids) + 1, device=token_ids.device)
    rates = (places - torch.rand(1, **at)) / max(1, len(token_ids))
    return token_ids.masked_fill(torch.rand(token_ids.shape, **at) < rates[:, None], mask_id), rates


def unmasking_loss(
    model: Model, batch: tuple[Tensor, Tensor, Tensor], mask_id: int
) -> Float[Tensor, ""]:
    r"""The loss of masked diffusion, in nats a token: a bound on the negative log-likelihood.

    $$L = -\frac{1}{n}\; \mathbb{E}_{t}\; \frac{1}{t} \sum_{i \,\text{masked}}
      \log p(x_i \mid \text{the tokens that are left}) \;\ge\; -\frac{1}{n} \log p(x)$$

    It is BERT's loss at all rates instead of one, with the weight $1/t$: few masks count more each.

    Args:
        model: What is trained.
        batch: Texts, the same texts with masks, and their rates, as `hide` makes them.
        mask_id: The token that hides others.

    Examples:
        >>> texts = torch.tensor([[0, 1], [1, 1]])
        >>> knows_nothing = lambda ids: torch.zeros(*ids.shape, 3)
        >>> batch = (texts, torch.tensor([[2, 1], [2, 2]]), torch.tensor([0.5, 1.0]))
        >>> unmasking_loss(knows_nothing, batch, mask_id=2)  # log 2
        tensor(0.6931)

    Source:
        [Sahoo et al. 2024][sahoo2024simple], section 3; in this form
        [Nie et al. 2025][nie2025large], equation 3.
    """
    texts, hidden, rates = batch
    found = _found(token_log_probs(model, hidden, mask_id), texts)
    lost = -found.masked_fill(hidden != mask_id, 0).sum(1)
    return (lost / rates).mean() / texts.shape[1]


@torch.no_grad()
def nll_bound(model: Model, token_ids: TokenIds, mask_id: int) -> Float[Tensor, " batch"]:
    r"""The bound for each text, in nats, exactly: over all rates and all masks.

    $$-\sum_{M \neq \emptyset} \frac{1}{|M| \binom{n}{|M|}} \sum_{i \in M}
      \log p(x_i \mid x_{\overline M})$$

    since $\int_0^1 t^{m-1} (1-t)^{n-m} dt = 1 / (m \binom{n}{m})$. It is also the mean over all
    orders of what a text costs that is unmasked one token at a time in that order.

    Args:
        model: Reads texts with masks; it gets $2^n - 1$ of each.
        token_ids: Short texts.
        mask_id: The token that hides others.

    Raises:
        ValueError: If a text has more than 16 tokens, or the mask is one of them.

    Examples:
        >>> knows_nothing = lambda ids: torch.zeros(*ids.shape, 3)
        >>> nll_bound(knows_nothing, torch.tensor([[0, 1, 1]]), mask_id=2) / math.log(2)
        tensor([3.])

    Source:
        [Nie et al. 2025][nie2025large], equation 6.
    """
    _check(token_ids, mask_id)
    seq = token_ids.shape[1]
    if seq > _LONGEST:
        raise ValueError(f"token_ids must have at most {_LONGEST} tokens a text, got {seq}")
    total: Any = 0.0
    with _calm(model):
        for size in range(1, seq + 1):
            for chosen in combinations(range(seq), size):
                masked = torch.zeros_like(token_ids, dtype=torch.bool)
                masked[:, chosen] = True
                hidden = token_ids.masked_fill(masked, mask_id)
                found = _found(token_log_probs(model, hidden, mask_id), token_ids)
                lost = -found.masked_fill(~masked, 0).sum(1)
                total = total + lost / (size * math.comb(seq, size))
    return total if seq else torch.zeros(len(token_ids), device=token_ids.device)


@torch.no_grad()
def unmask(
    model: Model,
    token_ids: TokenIds,
    steps: int,
    *,
    mask_id: int,
    generator: torch.Generator,
    order: str = "random",
    temperature: float | int = 1.0,
) -> TokenIds:
    r"""Write tokens where masks are, in so many steps, and leave the others as they are.

    In a step the model says for each mask what may stand there, and a token is drawn for each of
    $\lceil \text{masks} / \text{steps left} \rceil$ of them, *independently*: they do not know of
    each other. With one token a step, and a model that knows the truth, texts come as they should.

    Args:
        model: Reads texts with masks in them.
        token_ids: What is there already, and masks.
        steps: Passes of the model. More than there are masks are not made.
        mask_id: The token that hides others.
        generator: Where the randomness comes from, on the tokens' device.
        order: Which masks come first: "random" ones; "surest", those at which the likeliest token
            is the most probable; or "left" ones. (LLaDA and MaskGIT draw first and keep the
            likeliest of what they have drawn, which prefers likely tokens to others.)
        temperature: Below 1 sharpens what tokens are drawn from, 0 takes the likeliest.

    Returns:
        The texts without masks.

    Raises:
        TypeError: If `steps` is no whole number.
        ValueError: If there is no step, no such order, or the temperature is negative.

    Examples:
        >>> alternating = lambda ids: 9.0 * F.one_hot(torch.arange(4) % 2, 3).expand(len(ids), 4, 3)
        >>> generator = torch.Generator().manual_seed(0)
        >>> unmask(
        ...     alternating, torch.tensor([[1, 2, 2, 2]]), 2, mask_id=2, generator=generator
        ... )
        tensor([[1, 1, 0, 1]])

    Source:
        [Austin et al. 2021][austin2021structured], section 3; orders:
        [Chang et al. 2022][chang2022maskgit], section 3.2, and
        [Nie et al. 2025][nie2025large], section 2.4.
    """
    steps = whole("steps", steps)
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, got {order!r}")
    if not temperature >= 0:
        raise ValueError(f"temperature must not be negative, got {temperature}")
    at: dict[str, Any] = {"generator": generator, "device": token_ids.device}
    places = torch.arange(token_ids.shape[1], device=token_ids.device).expand(token_ids.shape)
    for left in range(steps, 0, -1):
        masked = token_ids == mask_id
        if not masked.any():
            break
        with _calm(model):
            probs = token_log_probs(model, token_ids, mask_id, temperature or 1).exp()
        if temperature:
            drawn = torch.multinomial(probs.flatten(0, 1), 1, generator=generator)
        else:
            drawn = probs.argmax(-1)
        if order == "random":
            first = torch.rand(token_ids.shape, **at)
        else:
            first = probs.amax(-1) if order == "surest" else -places.float()
        first = first.masked_fill(~masked, -math.inf)
        rank = first.argsort(dim=1, descending=True, stable=True).argsort(1)
        many = (masked.sum(1, keepdim=True) / left).ceil()
        new = drawn.view(token_ids.shape).to(token_ids.dtype)
        token_ids = torch.where(rank < many, new, token_ids)
    return token_ids


def block_sizes(masks: int, steps: int) -> list[int]:
    """How many masks `unmask` fills in each of so many steps.

    Examples:
        >>> block_sizes(9, 4)
        [3, 2, 2, 2]
    """
    sizes: list[int] = []
    for left in range(steps, 0, -1):
        sizes.append(math.ceil((masks - sum(sizes)) / left))
    return [size for size in sizes if size]


def share_kept(
    texts: Int[Tensor, "texts seq"],
    sizes: Sequence[int],
    given: Collection[int] = (),
    order: Sequence[int] | None = None,
) -> float:
    r"""How often a text comes that there is, if tokens are drawn independently, but perfectly.

    For texts that are all equally likely, the true $p(x_i \mid x_W)$ of a token, given the tokens
    $W$ that are there, can be counted. Drawn from it in blocks $B_1, B_2, \dots$, each token of a
    block without regard to the others, one of the texts comes with the probability

    $$\sum_{x} p(x_W) \prod_k \prod_{i \in B_k} p(x_i \mid x_W, x_{B_1}, \dots, x_{B_{k-1}})$$

    and this is computed, without drawing anything. It is no bound for a model that does not care
    for the truth: who always writes the same text may be right at once.

    Args:
        texts: All texts that there are, each once.
        sizes: Tokens that are drawn in each step, as `block_sizes` gives them.
        given: Positions that are there already, as in a text that is drawn.
        order: Positions that are not, in their order. The mean over all orders, if left out.

    Raises:
        ValueError: If sizes or order are not those of the tokens that are left.

    Examples:
        >>> same = torch.tensor([[0, 0], [1, 1]])  # two coins that always agree
        >>> share_kept(same, [1, 1]), share_kept(same, [2])
        (1.0, 0.5)
    """
    rest = sorted(set(range(texts.shape[1])) - set(given))
    if sum(sizes) != len(rest) or not all(size > 0 for size in sizes):
        raise ValueError(f"sizes must be positive and sum to {len(rest)}, got {list(sizes)}")
    if order is not None and sorted(order) != rest:
        raise ValueError(f"order must hold each of {rest} once, got {list(order)}")
    start = tuple(sorted(given))
    level = {start: _alike(texts, start) / len(texts)}
    for size in sizes:
        last, level = level, {}
        for written, chance in last.items():
            left = [i for i in (rest if order is None else order) if i not in written]
            blocks = [*combinations(left, size)] if order is None else [tuple(left[:size])]
            among = _alike(texts, written)
            shares = {i: _alike(texts, (*written, i)) / among for i in left}
            for block in blocks:
                both = tuple(sorted((*written, *block)))
                drawn = chance * math.prod(shares[i] for i in block) / len(blocks)
                level[both] = level[both] + drawn if both in level else drawn
    return sum(chance.sum().item() for chance in level.values())


def _alike(texts: Tensor, places: Sequence[int]) -> Tensor:
    """How many texts have the same tokens as each at some places."""
    label = torch.zeros(len(texts), dtype=torch.int64)
    for i in places:
        label = (label * (int(texts.max()) + 1) + texts[:, i]).unique(return_inverse=True)[1]
    return label.bincount().double()[label]


def _found(log_probs: Tensor, texts: Tensor) -> Tensor:
    return log_probs.gather(-1, texts.long()[..., None])[..., 0]


def _check(token_ids: Tensor, mask_id: int) -> None:
    if (token_ids == mask_id).any():
        raise ValueError(f"token_ids must be texts without the mask, got {mask_id} among them")


def _calm(model: Model) -> Any:
    return evaluating(model) if isinstance(model, nn.Module) else nullcontext()
