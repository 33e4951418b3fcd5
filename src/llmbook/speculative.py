"""Speculative decoding: something cheap guesses several tokens, and one pass of the model checks.

The text is what the model alone would have written: token for token at temperature 0, but for
rounding, and in distribution where tokens are drawn.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from llmbook.generation import KVCache, LanguageModel, in_evaluation
from llmbook.llama import Llama
from llmbook.sizes import whole


@dataclass
class Counts:
    """How it went.

    Attributes:
        passes: Of the model that checks, that of the prompt included.
        guessed: Tokens that were proposed.
        accepted: Those of them that were kept.
    """

    passes: int = 0
    guessed: int = 0
    accepted: int = 0


@runtime_checkable
class Draft(Protocol):
    """What guesses the next tokens of a text."""

    def propose(
        self,
        text: Sequence[int],
        count: int,
        temperature: float | int,
        generator: torch.Generator | None,
    ) -> tuple[list[int], Float[Tensor, "guesses vocab"] | None]:
        """Guess what comes after a text.

        Args:
            text: All of it.
            count: How many tokens at most.
            temperature: At which the text is written.
            generator: Of what is drawn.

        Returns:
            The guesses, and the probabilities by which each was drawn; without those, they were
            not drawn.
        """


class NgramDraft:
    """Guesses that a text goes on as it did when its last tokens stood there before.

    It costs nothing, and is right where a text repeats itself or what it was asked about.

    Args:
        order: How many last tokens are looked for; if they stand nowhere, fewer.

    Raises:
        ValueError: If the order is less than 1.

    Examples:
        >>> NgramDraft().propose([1, 2, 3, 4, 1, 2], 3, 0, None)[0]
        [3, 4, 1]

    Source:
        [Saxena 2023][saxena2023prompt].
    """

    def __init__(self, order: int = 3) -> None:
        self.order = whole("order", order)
        if self.order < 1:
            raise ValueError(f"order must be at least 1, got {order}")

    def propose(
        self,
        text: Sequence[int],
        count: int,
        temperature: float | int,
        generator: torch.Generator | None,
    ) -> tuple[list[int], None]:
        """Look the last tokens up, the latest place first; nothing is drawn."""
        text = list(text)
        for order in range(min(self.order, len(text) - 1), 0, -1):
            for end in range(len(text) - 1, order - 1, -1):
                if text[end - order : end] == text[-order:]:
                    return text[end : end + count], None
        return [], None


class ModelDraft:
    """Lets a smaller model write, which has the same tokens.

    Args:
        model: Guesses; it knows as many positions as the text has.
    """

    def __init__(self, model: LanguageModel) -> None:
        self._reader = _Reader(model)

    def propose(
        self,
        text: Sequence[int],
        count: int,
        temperature: float | int,
        generator: torch.Generator | None,
    ) -> tuple[list[int], Float[Tensor, "guesses vocab"] | None]:
        """Draw one token after the other."""
        text, rows = list(text), []
        for _ in range(count):
            rows.append(_probabilities(self._reader.read(text, 1), temperature)[0])
            text.append(_draw(rows[-1], generator))
        return text[len(text) - count :], torch.stack(rows) if rows else None


def speculate(
    model: LanguageModel,
    draft: Draft,
    token_ids: Sequence[int],
    max_new_tokens: int,
    *,
    guesses: int = 4,
    temperature: float | int = 0.0,
    generator: torch.Generator | None = None,
    counts: Counts | None = None,
) -> Iterator[int]:
    r"""Continue a text as the model alone would, several tokens a pass where a draft is right.

    The model reads the guesses $x_1, \dots$ in one pass, which gives its own probabilities $p$ of
    each. A guess that was drawn by $q$ is kept with probability $\min(1, p(x) / q(x))$. In place of
    the first that is not kept, a token is drawn from what $p$ has and $q$ has not,
    $\max(0, p - q)$ divided by its sum; if all are kept, one more from $p$. So each token has the
    probability $p$, whatever guessed.

    Args:
        model: Writes; it is in evaluation mode meanwhile.
        draft: Guesses.
        token_ids: The prompt.
        max_new_tokens: When to stop.
        guesses: How many tokens are proposed at a time.
        temperature: As in `llmbook.generation.generate`; 0 is greedy.
        generator: On the model's device.
        counts: Is filled while tokens come.

    Returns:
        An iterator over token ids.

    Raises:
        TypeError: If a number of tokens is no whole number.
        ValueError: If the prompt is empty or too long with what shall be written, a number is out
            of its range, or the draft has another vocabulary.

    Examples:
        >>> from llmbook.generation import generate
        >>> from llmbook.llama import LlamaConfig
        >>> _ = torch.manual_seed(0)
        >>> config = LlamaConfig(
        ...     vocab_size=50, d_model=16, num_layers=2, num_heads=4, num_kv_heads=2, d_ff=40,
        ...     max_len=64,
        ... )
        >>> model, counts = Llama(config).double(), Counts()
        >>> text = list(speculate(model, NgramDraft(), [1, 2, 3], 40, counts=counts))
        >>> text == list(generate(model, [1, 2, 3], 40)), counts.passes < 40
        (True, True)

    Source:
        [Leviathan et al. 2023][leviathan2023fast], algorithm 1 and appendix A.1;
        [Chen et al. 2023][chen2023accelerating] at the same time.
    """
    prompt = [whole("token_ids", token) for token in token_ids]
    max_new_tokens, guesses = whole("max_new_tokens", max_new_tokens), whole("guesses", guesses)
    if not prompt:
        raise ValueError("token_ids must hold at least one token, got none")
    if min(max_new_tokens, guesses) < 1:
        raise ValueError(
            f"max_new_tokens and guesses must be at least 1, got {max_new_tokens} and {guesses}"
        )
    if len(prompt) + max_new_tokens > model.max_len:
        raise ValueError(
            f"token_ids ({len(prompt)}) and max_new_tokens ({max_new_tokens}) must fit into "
            f"max_len={model.max_len} positions"
        )
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be finite and not negative, got {temperature}")
    return _write(
        _Reader(model), draft, prompt, max_new_tokens, guesses, temperature, generator,
        Counts() if counts is None else counts,
    )  # fmt: skip


def _write(
    reader: "_Reader",
    draft: Draft,
    text: list[int],
    left: int,
    guesses: int,
    temperature: float | int,
    generator: torch.Generator | None,
    counts: Counts,
) -> Iterator[int]:
    while left:
        guessed, drawn_by = draft.propose(text, min(guesses, left - 1), temperature, generator)
        logits = reader.read([*text, *guessed], len(guessed) + 1)
        probs = _probabilities(logits, temperature)
        if drawn_by is None:  # each guess for sure
            drawn_by = F.one_hot(torch.tensor(guessed, dtype=torch.long), probs.shape[-1])
        drawn_by = drawn_by.to(probs)
        if drawn_by.shape[-1] != probs.shape[-1]:
            raise ValueError(
                f"the draft must know the model's {probs.shape[-1]} tokens, "
                f"got {drawn_by.shape[-1]}"
            )
        kept = 0
        chance = torch.rand(len(guessed), generator=generator, device=probs.device)
        for token, p, q, u in zip(guessed, probs, drawn_by, chance, strict=False):
            if u * q[token] >= p[token]:
                break
            kept += 1
        rest = probs[kept]
        if kept < len(guessed):
            rest = (rest - drawn_by[kept]).clamp(min=0)
        counts.passes += 1
        counts.guessed += len(guessed)
        counts.accepted += kept
        for token in [*guessed[:kept], _draw(rest, generator)]:
            text.append(token)
            left -= 1
            yield token


class _Reader:
    """A model that reads texts, and what a text has in common with the last one only once."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.cache: KVCache | None = None
        self.seen: list[int] = []

    def read(self, text: list[int], last: int) -> Float[Tensor, "{last} vocab"]:
        """Logits after each of the last tokens."""
        if self.cache is None or len(text) > self.cache.max_len:
            self.cache = self.model.new_cache(min(2 * len(text) + 64, self.model.max_len))
            self.seen = []
        shared = 0
        for ours, theirs in zip(self.seen, text[: len(text) - last], strict=False):
            if ours != theirs:
                break
            shared += 1
        self.cache.length = shared
        new = torch.tensor([text[shared:]], device=self.model.device)
        with torch.inference_mode(), in_evaluation(self.model):
            hidden = self.model.hidden_states(new, cache=self.cache)
            logits = self.model.unembed(hidden[:, -last:])[0]
        self.seen = list(text)
        return logits


def _probabilities(
    logits: Float[Tensor, "positions vocab"], temperature: float | int
) -> Float[Tensor, "positions vocab"]:
    """By which tokens are drawn; at temperature 0 all for the likeliest."""
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).double()
    logits = logits.double()
    return ((logits - logits.amax(-1, keepdim=True)) / temperature).softmax(-1)


def _draw(weights: Float[Tensor, " vocab"], generator: torch.Generator | None) -> int:
    return int(torch.multinomial(weights, 1, generator=generator))


def first_layers(model: Llama, layers: int) -> Llama:
    """A draft that costs no memory: the first layers of a model, with its norm and output layer.

    Args:
        model: Shares its weights.
        layers: How many of its blocks.

    Raises:
        ValueError: If it has not so many, or there shall be none.

    Source:
        [Elhoushi et al. 2024][elhoushi2024layerskip], who train early layers to speak.
    """
    layers = whole("layers", layers)
    if not 1 <= layers <= model.config.num_layers:
        raise ValueError(f"layers must be from 1 to {model.config.num_layers}, got {layers}")
    draft = copy.copy(model)
    draft._modules = {**model._modules, "blocks": model.blocks[:layers]}
    draft.config = replace(model.config, num_layers=layers)
    return draft
