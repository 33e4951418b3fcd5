"""Generation: from a model's logits to text, one token after the other."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor


class KVCache:
    """The keys and values of the positions seen so far, so that none is computed twice.

    Args:
        storage: Room for the keys, and for the values, of every layer; a model's
            `new_cache(max_len)` makes it.

    Attributes:
        length: Positions that are filled. The model moves it on, once every layer has written.
        max_len: Positions that there is room for.

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

    def check(self, batch: int, end: int) -> None:
        """Refuse texts that do not fit, and gradients, which are not kept with what is cached.

        Raises:
            ValueError: If `batch` differs from the cache's, `end` is beyond its room, or
                gradients are on.
        """
        if batch != self.storage.shape[2]:
            raise ValueError(f"the cache is for a batch of {self.storage.shape[2]}, got {batch}")
        if end > self.max_len:
            raise ValueError(f"the cache has room for {self.max_len} positions, got {end}")
        if torch.is_grad_enabled():
            raise ValueError("a cache needs torch.no_grad() or torch.inference_mode()")


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
    probabilities = ranked.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities  # the mass of all that is likelier
    last = ranked.masked_fill(before >= p, math.inf).amin(dim=-1, keepdim=True)
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
        model: Speaks, in the mode that it is in: while training, dropout would act.
        token_ids: The prompt.
        max_new_tokens: When to stop at the latest.
        temperature: $\tau$. Below 1 sharpens, above 1 flattens, 0 is greedy.
        top_k: Draw from the `top_k` likeliest tokens alone.
        top_p: Draw from the smallest set of tokens that has this much probability.
        generator: Where the randomness comes from, on the model's device.
        stop: A token, or tokens, after which to stop; it is given too, as the last one.
        use_cache: Remember keys and values.

    Returns:
        An iterator over token ids. Nothing runs before the first is asked for.

    Raises:
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
        logits = (logits.float() - logits.max()) / temperature  # the maximum, 0, cannot overflow
        if top_k is not None:
            logits = keep_top_k(logits, top_k)
        if top_p is not None:
            logits = keep_top_p(logits, top_p)
        return int(torch.multinomial(logits.softmax(dim=-1), 1, generator=generator))

    stops = {stop} if isinstance(stop, int) else set(stop or ())
    return _continue(model, prompt, max_new_tokens, choose, stops, use_cache)


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
        with torch.inference_mode():  # left before the caller has the token
            hidden = model.hidden_states(unread, cache=cache)
            token = choose(model.unembed(hidden[:, -1:])[0, 0])
        yield token
        if token in stops:
            return
        new = unread.new_tensor([[token]])
        unread = torch.cat((unread, new), dim=1) if cache is None else new
