"""Generation: from a model's logits to text, one token after the other."""

import math
import operator
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.sizes import whole
from llmbook.training import evaluating


class KVCache:
    """The keys and values of the positions seen so far, so that none is computed twice.

    Args:
        storage: Room for the keys, and for the values, of every layer; a model's
            `new_cache(max_len)` makes it.

    Attributes:
        length: Positions that are filled. The model moves it on, once every layer has written.
        max_len: Positions that there is room for.
        padding: False where what is filled is padding, if anything is.

    Examples:
        >>> cache = KVCache(torch.zeros(2, 1, 1, 1, 8, 4))
        >>> keys, values = cache.append(0, torch.ones(1, 1, 3, 4), torch.ones(1, 1, 3, 4))
        >>> keys.shape
        torch.Size([1, 1, 3, 4])

    Source:
        [Pope et al. 2022][pope2022efficiently], section 2.1.
    """

    def __init__(self, storage: Float[Tensor, "2 layers batch kv_heads max_len d_head"]) -> None:
        self.storage = storage
        self.length, self.max_len = 0, storage.shape[-2]
        self.padding: Bool[Tensor, "batch filled"] | None = None

    def append(
        self,
        layer: int,
        key: Float[Tensor, "batch kv_heads new d_head"],
        value: Float[Tensor, "batch kv_heads new d_head"],
    ) -> tuple[
        Float[Tensor, "batch kv_heads all d_head"], Float[Tensor, "batch kv_heads all d_head"]
    ]:
        """Write a layer's keys and values after those that it has, and give back all of them."""
        end = self.length + key.shape[-2]
        keys, values = self.storage[:, layer, ..., :end, :]
        keys[..., self.length :, :] = key
        values[..., self.length :, :] = value
        return keys, values

    def check(
        self,
        batch: int,
        end: int,
        attention_mask: Bool[Tensor, "batch end"] | Int[Tensor, "batch end"] | None = None,
    ) -> None:
        """Refuse texts that do not fit, and gradients, which are not kept with what is cached.

        Positions count by columns, so a text whose padding is on the right has an end: what comes
        after it would stand too far away.

        Raises:
            ValueError: If `batch` differs from the cache's, `end` is beyond its room, gradients
                are on, or a mask forgets about padding or has some inside of a text.
        """
        if batch != self.storage.shape[2]:
            raise ValueError(f"the cache is for a batch of {self.storage.shape[2]}, got {batch}")
        if end > self.max_len:
            raise ValueError(f"the cache has room for {self.max_len} positions, got {end}")
        if torch.is_grad_enabled():
            raise ValueError("a cache needs torch.no_grad() or torch.inference_mode()")
        if attention_mask is None:
            if self.padding is not None:
                raise ValueError("attention_mask must cover the cached positions: some are padding")
            return
        visible = attention_mask.bool()
        if self.padding is not None:
            cached = slice(self.length)
            if (visible[:, cached] & ~self.padding[:, cached]).any():
                raise ValueError("attention_mask shows cached positions that it called padding")
        begins = visible[:, 1:] & ~visible[:, :-1]
        if self.length and (begins.sum(dim=1) + visible[:, 0] > 1).any():
            raise ValueError(
                "attention_mask has padding inside of a text: with a cache, pad on the left"
            )
        if self.padding is not None or not visible.all():
            self.padding = visible


@runtime_checkable
class LanguageModel(Protocol):
    """What `generate` asks of a model, and `llmbook.llama.Llama` has."""

    @property
    def max_len(self) -> int:
        """Positions that the model knows."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""

    def hidden_states(self, token_ids: Tensor, *, cache: KVCache | None = None) -> Tensor:
        """Last hidden states at `token_ids`, which come after the cached positions."""

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits for hidden states."""

    def new_cache(self, max_len: int) -> KVCache:
        """An empty cache for one text."""


def keep_top_k(logits: Float[Tensor, "*batch vocab"], k: int) -> Float[Tensor, "*batch vocab"]:
    r"""Leave the `k` likeliest tokens as they are and make the others impossible.

    Args:
        logits: Unnormalised log-probabilities.
        k: How many tokens to keep. Those as likely as the last of them are kept too.

    Returns:
        Logits in which the others are minus infinity.

    Raises:
        ValueError: If `k` is less than 1.

    Examples:
        >>> keep_top_k(torch.tensor([3.0, 1.0, 2.0]), k=2)
        tensor([3., -inf, 2.])

    Source:
        [Fan et al. 2018][fan2018hierarchical], section 5.4.
    """
    k = whole("k", k)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    last = logits.topk(min(k, logits.shape[-1])).values[..., -1:]
    return logits.masked_fill(logits < last, -math.inf)


def keep_top_p(
    logits: Float[Tensor, "*batch vocab"], p: float | int
) -> Float[Tensor, "*batch vocab"]:
    r"""Leave the nucleus as it is and make the other tokens impossible.

    The nucleus is the smallest set of likeliest tokens whose probabilities sum to at least $p$:
    few tokens where the model is sure, many where it is not.

    Args:
        logits: Unnormalised log-probabilities.
        p: $0 < p \le 1$; 1 keeps all. Tokens as likely as the last of the nucleus are kept too.

    Returns:
        Logits in which the others are minus infinity.

    Raises:
        ValueError: If `p` is not above 0 and at most 1.

    Examples:
        >>> keep_top_p(torch.tensor([0.6, 0.1, 0.3]).log(), p=0.7).exp()
        tensor([0.6000, 0.0000, 0.3000])

    Source:
        [Holtzman et al. 2020][holtzman2020curious], section 3.1.
    """
    if not 0 < p <= 1:
        raise ValueError(f"p must be above 0 and at most 1, got {p}")
    if p == 1:
        return logits
    ranked, _ = logits.sort(dim=-1, descending=True)
    probabilities = ranked.double().softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # the mass of all that is likelier
    # Logits are rounded, so a mass that meets p exactly may seem to fall short of it.
    exact = logits.dtype == torch.float64
    rounding = 1e-14 if exact else 2 * torch.finfo(torch.float32).eps
    last = ranked.masked_fill(before >= p - rounding, math.inf).amin(dim=-1, keepdim=True)
    return logits.masked_fill(logits < last, -math.inf)


def generate(
    model: LanguageModel,
    token_ids: Sequence[int] | Int[Tensor, " prompt"] | Int[Tensor, "1 prompt"],
    max_new_tokens: int,
    *,
    temperature: float | int = 0.0,
    top_k: int | None = None,
    top_p: float | int | None = None,
    generator: torch.Generator | None = None,
    stop: int | Collection[int] | None = None,
    use_cache: bool = True,
) -> Iterator[int]:
    r"""Continue a text: give each new token as soon as it is chosen.

    At temperature 0 that is the likeliest token, else one drawn from
    $p_i \propto \exp(z_i / \tau)$, after `top_k` and then `top_p` have sorted out.

    With a cache, each step computes the newest position alone and reads the keys and values of
    the earlier ones. Without one, each step computes the whole text again, for the same tokens.

    Args:
        model: Speaks, in evaluation mode, which drops nothing; afterwards it is in the mode in
            which it came.
        token_ids: The prompt.
        max_new_tokens: When to stop at the latest.
        temperature: $\tau$. Below 1 sharpens, above 1 flattens, 0 is greedy.
        top_k: Draw from the `top_k` likeliest tokens alone.
        top_p: Draw from the smallest set of tokens that has this much probability.
        generator: Where the randomness comes from, on the model's device.
        stop: A token, or tokens (in a collection, an array or a tensor), after which to stop; it
            is given too, as the last one.
        use_cache: Remember keys and values.

    Returns:
        An iterator over token ids. Nothing runs before the first is asked for.

    Raises:
        TypeError: If `max_new_tokens`, `top_k` or what is in `stop` is no whole number.
        ValueError: If the prompt is empty or no single text, a number is out of its range, or
            `top_k` or `top_p` is given with temperature 0, which draws nothing.

    Examples:
        >>> from llmbook.llama import Llama, LlamaConfig
        >>> _ = torch.manual_seed(0)
        >>> config = LlamaConfig(
        ...     vocab_size=50, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=40,
        ...     max_len=32,
        ... )
        >>> len(list(generate(Llama(config), [1, 2, 3], 5, temperature=0.8, top_p=0.9)))
        5
    """
    prompt = torch.as_tensor(token_ids, device=model.device)
    if prompt.ndim == 1:
        prompt = prompt[None]
    if prompt.ndim != 2 or len(prompt) != 1 or not prompt.numel():
        raise ValueError(
            f"token_ids must be one text of at least one token, got shape {tuple(prompt.shape)}"
        )
    max_new_tokens = whole("max_new_tokens", max_new_tokens)
    top_k = None if top_k is None else whole("top_k", top_k)
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, got {max_new_tokens}")
    last = prompt.shape[1] + max_new_tokens - 1  # the last new token is not read any more
    if last > model.max_len:
        raise ValueError(
            f"token_ids ({prompt.shape[1]}) and max_new_tokens ({max_new_tokens}) make the model "
            f"read {last} positions, and it knows max_len={model.max_len}"
        )
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature must be finite and not negative, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must be above 0 and at most 1, got {top_p}")
    if temperature == 0 and (top_k, top_p) != (None, None):
        raise ValueError(
            f"top_k={top_k} and top_p={top_p} need a temperature above 0: at 0, nothing is drawn"
        )

    def choose(logits: Tensor) -> int:
        if temperature == 0:
            return int(logits.argmax())
        # In float64, which no temperature is too low for; the maximum, 0, cannot overflow.
        logits = ((logits.double() - logits.max()) / temperature).float()
        if top_k is not None:
            logits = keep_top_k(logits, top_k)
        if top_p is not None:
            logits = keep_top_p(logits, top_p)
        return int(torch.multinomial(logits.softmax(dim=-1), 1, generator=generator))

    return _continue(model, prompt, max_new_tokens, choose, _token_set(stop), use_cache)


def _token_set(stop: Any) -> set[int]:
    """Tokens as Python's integers: an array's or a tensor's are equal to none of those."""
    if stop is None:
        return set()
    try:
        return {operator.index(stop)}
    except TypeError:
        pass
    try:
        return {operator.index(token) for token in stop}
    except TypeError:
        raise TypeError(f"stop must be a token or a collection of tokens, got {stop!r}") from None


def in_evaluation(model: LanguageModel) -> AbstractContextManager[None]:
    """Evaluation mode for a while, where a model has modes and is not in it anyway.

    Args:
        model: Each of its modules gets back the mode that it had.
    """
    if isinstance(model, nn.Module) and any(module.training for module in model.modules()):
        return evaluating(model)
    return nullcontext()


def _continue(
    model: LanguageModel,
    unread: Int[Tensor, "1 prompt"],
    max_new_tokens: int,
    choose: Callable[[Tensor], int],
    stops: Set[int],
    use_cache: bool,
) -> Iterator[int]:
    cache = model.new_cache(unread.shape[1] + max_new_tokens - 1) if use_cache else None
    for _ in range(max_new_tokens):
        # Both are left before the caller has the token.
        with torch.inference_mode(), in_evaluation(model):
            hidden = model.hidden_states(unread, cache=cache)
            token = choose(model.unembed(hidden[:, -1:])[0, 0])
        yield token
        if token in stops:
            return
        new = unread.new_tensor([[token]])
        unread = torch.cat((unread, new), dim=1) if cache is None else new
