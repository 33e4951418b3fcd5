r"""Ask a model why: what an input contributed, what a layer would say, what a change inside does.

Everything works on models of this book that have `blocks` of equal width, and leaves them as they
were.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.gpt import GPT
from llmbook.llama import Llama
from llmbook.sizes import whole
from llmbook.training import evaluating

Stream = Float[Tensor, "batch seq d_model"]


def integrated_gradients(
    function: Callable[[Any], Float[Tensor, " batch"]],
    x: Float[Tensor, "batch *shape"],
    baseline: Float[Tensor, "batch *shape"] | Float[Tensor, "*shape"] | None = None,
    steps: int = 64,
) -> Float[Tensor, "batch *shape"]:
    r"""Divide what a function gives among the numbers that go into it.

    $$a_i = (x_i - b_i)\int_0^1 \frac{\partial f}{\partial x_i}\bigl(b + t\,(x - b)\bigr)\,dt$$

    **Completeness**: the $a_i$ of one input sum to $f(x) - f(b)$, which a gradient alone does not.
    The integral is taken by Gauss and Legendre, exact where the gradient along the way is a
    polynomial of degree below $2 \cdot$`steps`.

    Args:
        function: Gives one number for each input of a batch.
        x: The inputs, in a floating-point dtype.
        baseline: What counts as "nothing is there", $b$: one for each input, or one for all; zeros,
            if none is given. Another baseline asks another question.
        steps: At how many points of the way the gradient is taken.

    Returns:
        $a$, in the shape and dtype of `x`.

    Raises:
        TypeError: If `x` holds no floating-point numbers, or `steps` is no whole number.
        ValueError: If `steps` is not positive, the shape of `baseline` does not fit, or `function`
            does not give one number for each input.

    Examples:
        >>> x = torch.tensor([[2.0, 3.0]])
        >>> integrated_gradients(lambda x: x[:, 0] * x[:, 1], x).round(decimals=3)
        tensor([[3., 3.]])

    Source:
        [Sundararajan et al. 2017][sundararajan2017axiomatic], section 3.
    """
    steps = whole("steps", steps)
    if steps < 1:
        raise ValueError(f"steps must be positive, got {steps}")
    if not x.is_floating_point():
        raise TypeError(f"x must hold floating-point numbers, got {x.dtype}")
    start = torch.zeros_like(x) if baseline is None else baseline.to(x)
    if start.shape not in (x.shape, x.shape[1:]):
        raise ValueError(
            f"baseline must have the shape of x, {tuple(x.shape)}, or of one input, "
            f"{tuple(x.shape[1:])}, got {tuple(start.shape)}"
        )
    start = start.expand_as(x)
    points, weights = np.polynomial.legendre.leggauss(steps)
    total = torch.zeros_like(x)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        on_the_way = (start + float(point) * (x - start)).detach().requires_grad_()
        with torch.enable_grad():
            values = function(on_the_way)
            if values.shape != x.shape[:1]:
                raise ValueError(
                    f"function must give one number for each of {len(x)} inputs, got the shape "
                    f"{tuple(values.shape)}"
                )
            (gradient,) = torch.autograd.grad(values.sum(), on_the_way)
        total += float(weight) * gradient
    return ((x - start) * total).detach()


def token_attributions(
    model: Llama,
    token_ids: Int[Tensor, " seq"],
    wanted: int,
    unwanted: int,
    baseline: Float[Tensor, " d_model"],
    steps: int = 64,
) -> Float[Tensor, " seq"]:
    r"""What each token contributes to the preference for one next token over another.

    `integrated_gradients` of $\mathrm{logit}(\mathrm{wanted}) - \mathrm{logit}(\mathrm{unwanted})$
    by the embeddings, summed over each embedding's numbers.

    Args:
        model: The decoder.
        token_ids: One text.
        wanted: The token for which the answer speaks.
        unwanted: The one that it is compared with.
        baseline: An embedding that stands at all places at the beginning of the way. Not zeros: a
            norm divides by the length, so nearly all of the way from zero gives the same.
        steps: As in `integrated_gradients`.

    Returns:
        A number for each token; they sum to the preference with the text minus that with the
            baseline, up to the error of the integral.
    """

    def preference(embedded: Stream) -> Float[Tensor, " batch"]:
        handle = model.embedding.register_forward_hook(lambda *_: embedded)
        try:
            hidden = model.hidden_states(token_ids.expand(len(embedded), -1))
        finally:
            handle.remove()
        logits = model.unembed(hidden[:, -1:])[:, 0]
        return logits[:, wanted] - logits[:, unwanted]

    with evaluating(model):
        embedded = model.embedding.weight[token_ids].detach()[None]
        start = baseline.expand_as(embedded[0])
        return integrated_gradients(preference, embedded, start, steps)[0].sum(-1)


@contextmanager
def edited(
    model: nn.Module, edits: dict[int, Callable[[Stream], Stream]] | None = None
) -> Iterator[None]:
    """Change the residual stream behind some layers, within a block.

    Args:
        model: Has `blocks` whose output is the stream.
        edits: For each layer a function of the stream that it gives; its result is what the next
            layer reads.

    Raises:
        ValueError: If there is no such layer.

    Examples:
        >>> from llmbook.llama import LlamaConfig
        >>> config = LlamaConfig(vocab_size=9, d_model=8, num_layers=2, num_heads=2,
        ...     num_kv_heads=1, d_ff=16, max_len=8)
        >>> model, ids = Llama(config), torch.tensor([[1, 2]])
        >>> with edited(model, {1: torch.zeros_like}):
        ...     print(model(ids).abs().max().item())
        0.0
    """
    blocks = _blocks(model)
    with ExitStack() as stack:
        for layer, edit in (edits or {}).items():
            if not 0 <= layer < len(blocks):
                raise ValueError(f"layer must be from 0 to {len(blocks) - 1}, got {layer}")

            def hook(_: Any, __: Any, output: Tensor, edit: Any = edit) -> Tensor:
                return edit(output)  # type: ignore[no-any-return]

            handle = blocks[layer].register_forward_hook(hook)
            stack.callback(handle.remove)
        yield


@torch.no_grad()
def residual_stream(
    model: Llama | GPT, token_ids: Int[Tensor, "batch seq"]
) -> Float[Tensor, "layers batch seq d_model"]:
    """What each layer hands on.

    Args:
        model: A decoder of this book.
        token_ids: Texts side by side.

    Returns:
        What goes into the first layer, and what comes out of each: one more than there are layers.
    """
    blocks, seen = _blocks(model), []
    with ExitStack() as stack:
        first = blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        stack.callback(first.remove)
        for block in blocks:
            handle = block.register_forward_hook(lambda _, __, output: seen.append(output))
            stack.callback(handle.remove)
        with evaluating(model):
            model.hidden_states(token_ids)
    return torch.stack(seen)


@torch.no_grad()
def logit_lens(
    model: Llama | GPT, token_ids: Int[Tensor, "batch seq"], position: int = -1
) -> Float[Tensor, "layers batch vocab"]:
    r"""What the model would say next if it stopped after each layer.

    $$\mathrm{lens}_\ell = \mathrm{unembed}(\mathrm{norm}(x_\ell))$$

    with the model's own last norm and output matrix, which were trained for the last layer only. A
    layer that the lens cannot read may know the answer in another form.

    Args:
        model: The decoder.
        token_ids: Texts side by side.
        position: After which token.

    Returns:
        Logits before the first layer and after each; the last are the model's own.

    Raises:
        ValueError: If there is no such position.

    Source:
        [nostalgebraist 2020][nostalgebraist2020logit]; for a trained lens, and why the plain one
        misleads, [Belrose et al. 2023][belrose2023tuned].
    """
    length = token_ids.shape[1]
    if not -length <= position < length:
        raise ValueError(f"position must be one of {length} tokens, got {position}")
    stream = residual_stream(model, token_ids)[:, :, position]
    with evaluating(model):
        return read_out(model, stream)


def read_out(
    model: Llama | GPT, stream: Float[Tensor, "layers tokens d_model"]
) -> Float[Tensor, "layers tokens vocab"]:
    """Send vectors of the stream through a model's last norm and output matrix."""
    return model.unembed(stream if model.norm is None else model.norm(stream))


class TunedLens(nn.Module):
    r"""A map for each layer, behind which the model's own output matrix can read its stream.

    $$\mathrm{tuned}_\ell = \mathrm{unembed}(\mathrm{norm}(x_\ell + A_\ell x_\ell + b_\ell))$$

    $A_\ell$ and $b_\ell$ begin at zero, where this is the `logit_lens`. They are trained, and the
    model is not, so that each layer foretells what the last will say: `lens_divergence`. What such
    a map knows it may have from its training and not from the layer.

    Args:
        d_model: Width of the stream.
        layers: How many maps.

    Raises:
        ValueError: If one of them is not positive.

    Examples:
        >>> lens, stream = TunedLens(d_model=4, layers=2), torch.randn(2, 5, 4)
        >>> torch.equal(lens(stream), stream)
        True

    Source:
        [Belrose et al. 2023][belrose2023tuned], section 3.
    """

    def __init__(self, d_model: int, layers: int) -> None:
        super().__init__()
        for name, size in [("d_model", d_model), ("layers", layers)]:
            if whole(name, size) < 1:
                raise ValueError(f"{name} must be positive, got {size}")
        self.translators = nn.ModuleList(nn.Linear(d_model, d_model) for _ in range(layers))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, stream: Float[Tensor, "layers tokens d_model"]
    ) -> Float[Tensor, "layers tokens d_model"]:
        """Translate what comes out of each layer.

        Raises:
            ValueError: If there are not as many layers as maps.
        """
        if len(stream) != len(self.translators):
            raise ValueError(
                f"stream must have {len(self.translators)} layers, as the lens, got {len(stream)}"
            )
        pairs = zip(self.translators, stream, strict=True)
        return stream + torch.stack([translator(x) for translator, x in pairs])


def lens_divergence(
    model: Llama | GPT,
    stream: Float[Tensor, "layers tokens d_model"],
    last: Float[Tensor, "tokens d_model"],
) -> Float[Tensor, " layers"]:
    r"""How far what a lens reads is from what the model says, in nats a token.

    $$\operatorname{mean}_t\;\mathrm{KL}\bigl(p_t \,\Vert\, q_{\ell t}\bigr)
      = \operatorname{mean}_t \sum_v p_{tv}\,(\log p_{tv} - \log q_{\ell tv})$$

    Args:
        model: Whose last norm and output matrix read.
        stream: What is read; of a `TunedLens`, what it gives.
        last: What comes out of the last layer for the same tokens; no gradient goes there.

    Source:
        [Belrose et al. 2023][belrose2023tuned], equation 3.
    """
    with torch.no_grad():
        said = read_out(model, last[None])[0].log_softmax(-1)
    found = []
    for x in stream:
        read = read_out(model, x[None])[0].log_softmax(-1)
        found.append(F.kl_div(read, said, reduction="batchmean", log_target=True))
    return torch.stack(found)


@torch.no_grad()
def patch(
    model: Llama | GPT,
    token_ids: Int[Tensor, "batch seq"],
    donor_ids: Int[Tensor, "batch seq"],
    layers: Sequence[int],
    positions: Sequence[int],
) -> Float[Tensor, "layers batch vocab"]:
    """What a model says next when a part of its stream comes from another text.

    The model reads `token_ids`, but behind one layer the vectors at some positions are those that
    it had there when it read the donor. If the answer follows the donor, what decides it was there,
    at that layer. With the text of the wanted answer as donor this asks what is *enough* to restore
    it, with that of the other answer what is *needed* to keep it.

    Args:
        model: A decoder of this book.
        token_ids: Texts, each with a donor of the same length.
        donor_ids: The donors.
        layers: Behind which layers, one after the other.
        positions: Which positions, all at once.

    Returns:
        Logits after the last token, for each layer.

    Raises:
        ValueError: If the shapes differ, or a layer or position does not exist.

    Source:
        [Vig et al. 2020][vig2020investigating]; both directions and what they mean:
        [Heimersheim and Nanda 2024][heimersheim2024how].
    """
    if token_ids.shape != donor_ids.shape:
        raise ValueError(
            "token_ids and donor_ids must have the same shape, got "
            f"{tuple(token_ids.shape)} and {tuple(donor_ids.shape)}"
        )
    length, chosen = token_ids.shape[1], list(positions)
    for position in chosen:
        if not -length <= position < length:
            raise ValueError(f"positions must be among {length} tokens, got {position}")
    donor = residual_stream(model, donor_ids)[1:, :, chosen]
    found = []
    with evaluating(model):
        for layer in layers:

            def put(stream: Stream, layer: int = layer) -> Stream:
                mixed = stream.clone()
                mixed[:, chosen] = donor[layer]
                return mixed

            with edited(model, {layer: put}):
                hidden = model.hidden_states(token_ids)
            found.append(model.unembed(hidden[:, -1:])[:, 0])
    return torch.stack(found)


def _blocks(model: nn.Module) -> nn.ModuleList:
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.ModuleList) or not len(blocks):
        raise TypeError(f"model must have blocks, {type(model).__name__} has none")
    return blocks
