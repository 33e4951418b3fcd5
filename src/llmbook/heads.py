"""What the attention heads of a trained decoder do, by a score, and what is lost without them.

The scores read the weights of `llmbook.llama.Llama.attention_weights`. A score says that a head
looks like one that does a certain job; that it does it takes `without_heads` and a control.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.llama import Llama
from llmbook.sizes import whole

Weights = Float[Tensor, "layers batch heads seq seq"]
Scores = Float[Tensor, "layers heads"]


def previous_token_score(weights: Weights) -> Scores:
    r"""How much each head attends to the token before.

    $$s = \frac{1}{n-1} \sum_{i=1}^{n-1} A_{i,\,i-1}$$

    A head that looks nowhere else has 1. One that looks at all it may see alike has
    $\frac{1}{n-1}\sum_{i=1}^{n-1} \frac{1}{i+1}$: 0.12 in a text of 24 tokens.

    Args:
        weights: Attention weights $A$, rows attending to columns.

    Returns:
        The mean over positions and texts. Position 0, which has none before it, is left out.

    Raises:
        ValueError: If there are fewer than two positions.

    Examples:
        >>> looks_back = torch.eye(4).roll(1, dims=0)  # row i attends to column i - 1
        >>> previous_token_score(looks_back.expand(1, 1, 1, 4, 4))
        tensor([[1.]])

    Source:
        [Voita et al. 2019][voita2019analyzing], section 5.1 (positional heads);
        [Elhage et al. 2021][elhage2021mathematical], on the first half of an induction circuit.
    """
    _check(weights, 2)
    return weights.diagonal(-1, -2, -1).mean(dim=(1, -1))


def first_token_score(weights: Weights) -> Scores:
    r"""How much each head attends to the first token: the sink for attention that has no use.

    $$s = \frac{1}{n-1} \sum_{i=1}^{n-1} A_{i,0}$$

    The softmax must give its whole weight to something; where nothing fits, trained models give it
    to the first token. A head that looks at all it may see alike has what it has in
    `previous_token_score`.

    Args:
        weights: Attention weights $A$ of texts that begin at position 0 (no padding on the left).

    Returns:
        The mean over positions and texts. Position 0 is left out: it sees itself alone, so that
        its weight is 1 in every head.

    Raises:
        ValueError: If there are fewer than two positions.

    Examples:
        >>> first_token_score(torch.eye(4)[0].expand(1, 1, 1, 4, 4))
        tensor([[1.]])

    Source:
        [Xiao et al. 2024][xiao2024efficient], section 3.1.
    """
    _check(weights, 2)
    return weights[..., 1:, 0].mean(dim=(1, -1))


def repeated_tokens(
    vocab_size: int, length: int, batch: int, generator: torch.Generator
) -> Int[Tensor, "batch twice"]:
    """Random tokens, then the same again: what comes next in the second copy is known by copying.

    Nothing that a model knows of language helps it here.

    Args:
        vocab_size: Tokens to draw from, each as likely as any other.
        length: Of one copy.
        batch: How many texts.
        generator: Source of randomness.

    Returns:
        Token ids, `2 * length` a text.

    Raises:
        ValueError: If a number is not positive.

    Examples:
        >>> repeated_tokens(100, 3, 1, torch.Generator().manual_seed(0))
        tensor([[44, 39, 33, 44, 39, 33]])

    Source:
        [Olsson et al. 2022][olsson2022incontext], on heads tested with repeated random tokens.
    """
    vocab_size, length = whole("vocab_size", vocab_size), whole("length", length)
    for name, number in (("vocab_size", vocab_size), ("length", length), ("batch", batch)):
        if number < 1:
            raise ValueError(f"{name} must be positive, got {number}")
    return torch.randint(vocab_size, (batch, length), generator=generator).repeat(1, 2)


def induction_score(weights: Weights, length: int) -> Scores:
    r"""How much each head attends to what came after the last time, in a text that repeats.

    $$s = \frac{1}{L} \sum_{i=n-L}^{n-1} A_{i,\,i-L+1}$$

    Such a head finds where the present token stood before and takes what followed: `A B … A` is
    continued with `B`. One that looks at all it may see alike has
    $\frac{1}{L}\sum_{i=n-L}^{n-1}\frac{1}{i+1}$: 0.03 for 24 tokens twice.

    Args:
        weights: Attention weights $A$ on texts that end in two copies of `length` tokens, as of
            `repeated_tokens`; anything may come before.
        length: Tokens in a copy, $L$.

    Returns:
        The mean over the positions of the second copy and over texts.

    Raises:
        ValueError: If a copy has fewer than two tokens or the texts are shorter than two copies.

    Examples:
        >>> rows = torch.tensor([0, 0, 0, 1, 2, 3])  # what each of 2 × 3 positions attends to
        >>> induction_score(torch.eye(6)[rows].expand(1, 1, 1, 6, 6), length=3)
        tensor([[1.]])

    Source:
        [Olsson et al. 2022][olsson2022incontext], "prefix matching";
        [Elhage et al. 2021][elhage2021mathematical], where induction heads were found.
    """
    length = whole("length", length)
    if length < 2:
        raise ValueError(f"length must be at least 2, got {length}")
    _check(weights, 2 * length)
    return weights.diagonal(1 - length, -2, -1)[..., -length:].mean(dim=(1, -1))


def mean_outputs(
    model: Llama, token_ids: Int[Tensor, "batch seq"]
) -> Float[Tensor, "layers heads d_head"]:
    """What each head gives on average over all positions of some texts.

    Args:
        model: A decoder.
        token_ids: The texts, such as random tokens without a repetition.

    Returns:
        The mean output of each head, before the layer's output projection mixes them.

    Examples:
        >>> from llmbook.llama import LlamaConfig
        >>> config = LlamaConfig(
        ...     vocab_size=9, d_model=8, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=16,
        ...     max_len=8,
        ... )
        >>> mean_outputs(Llama(config), torch.tensor([[1, 2, 3]])).shape
        torch.Size([2, 4, 2])
    """
    means: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
        means.append(inputs[0].mean(dim=(0, 1)).unflatten(-1, (model.config.num_heads, -1)))

    block: Any
    with ExitStack() as hooks, torch.no_grad():
        for block in model.blocks:
            hooks.enter_context(block.attention.out.register_forward_pre_hook(note))
        model(token_ids)
    return torch.stack(means)


@contextmanager
def without_heads(
    model: Llama,
    heads: Iterable[tuple[int, int]],
    instead: Float[Tensor, "layers heads d_head"] | None = None,
) -> Iterator[None]:
    """Silence some heads: the layer's output projection gets zeros where theirs would be.

    Compare with as many others of the same layers. Any damage makes a model worse, so a loss that
    rises says something only where it rises more than that. Zeros are a kind of damage themselves,
    as no layer above has ever met them; the mean of a head takes away what it says of this text
    and leaves what it says of every text.

    Args:
        model: Stays as it is, outside of the `with` block.
        heads: Pairs of a layer and a head in it, both counted from 0.
        instead: What to put in place of the zeros, such as `mean_outputs`.

    Yields:
        Nothing; within the block, the model computes without those heads.

    Raises:
        ValueError: If the model has no such layer or head.

    Examples:
        >>> from llmbook.llama import LlamaConfig
        >>> config = LlamaConfig(
        ...     vocab_size=9, d_model=8, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=16,
        ...     max_len=8,
        ... )
        >>> model, token_ids = Llama(config), torch.tensor([[1, 2, 3]])
        >>> with without_heads(model, [(0, 1), (1, 3)]):
        ...     silenced = model(token_ids)
        >>> torch.equal(silenced, model(token_ids))
        False

    Source:
        [Michel et al. 2019][michel2019sixteen], section 2.3; means in place of zeros:
        [Wang et al. 2023][wang2023interpretability], section 2.1.
    """
    width = model.config.d_head
    silent = torch.zeros(len(model.blocks), model.config.num_heads, dtype=torch.bool)
    filled = torch.zeros(*silent.shape, width) if instead is None else instead
    for layer, head in heads:
        for name, number, end in zip(("layer", "head"), (layer, head), silent.shape, strict=True):
            if not 0 <= number < end:
                raise ValueError(f"{name} must be from 0 to {end - 1}, got {number}")
        silent[layer, head] = True
    block: Any
    with ExitStack() as hooks:
        by_layer = zip(model.blocks, silent.repeat_interleave(width, 1), filled, strict=True)
        for block, columns, values in by_layer:
            if columns.any():
                silence = columns.to(model.device), values.flatten().to(model.device)
                hook = partial(_silence, *silence)
                hooks.enter_context(block.attention.out.register_forward_pre_hook(hook))
        yield


def _silence(columns: Tensor, values: Tensor, module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
    return torch.where(columns, values, inputs[0])


def _check(weights: Weights, positions: int) -> None:
    if weights.ndim != 5 or weights.shape[-2] != weights.shape[-1]:
        raise ValueError(
            "weights must have the shape (layers, batch, heads, seq, seq), "
            f"got {tuple(weights.shape)}"
        )
    if not weights.shape[1]:
        raise ValueError(f"weights must be of at least one text, got {tuple(weights.shape)}")
    if weights.shape[-1] < positions:
        raise ValueError(
            f"weights must have at least {positions} positions, got {weights.shape[-1]}"
        )
