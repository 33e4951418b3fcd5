r"""What a model expects where a word is missing, and how a bias is read from it."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from llmbook.generation import KVCache
from llmbook.llama import Llama
from llmbook.pretrained import smollm2

MASK = "[MASK]"
CANDIDATES = 200
_TOKENS_AT_ONCE = 512  # each has 49,152 logits: 100 MB


def fill_mask(sentences: str | Sequence[str], unmasker: Any = None, top_k: int = 3) -> list[Any]:
    r"""Name the words that a model expects in place of `[MASK]`.

    A transformers pipeline answers from a model that was trained to fill masks: it looks at both
    sides at once, and its scores are probabilities over its whole vocabulary.

    Without one, SmolLM2 answers, which has only learnt to continue texts. From the left side, read
    as the beginning of a document, it proposes the 200 likeliest words $w$. Then each is put into
    the sentence (a batch of 200 texts) and judged by what the right side becomes after it,

    $$\mathrm{score}(w) = \frac{p(w, \mathrm{right} \mid \mathrm{left})}
      {\sum_{w'} p(w', \mathrm{right} \mid \mathrm{left})}$$

    where $w'$ runs over the 200 words and $p$ multiplies the probabilities of all tokens from the
    word on. A word is a single token of letters with the space before it, where the mask has one,
    and a token that can also follow a space where it has none: no piece of a word. So a score
    compares a word with 199 others, a word of several tokens is never found, and neither is one
    that is unlikely before the right side is read: at the beginning of a text, even *He*.

    Args:
        sentences: One text or several, each with one `[MASK]`, whatever the model's own mask is.
        unmasker: A transformers fill-mask pipeline; SmolLM2 if none is given.
        top_k: Words for each text; at most 200, or a pipeline's whole vocabulary.

    Returns:
        A list for each text (one text that is no list: its list alone, as from a pipeline) of
            dicts with a word, `"token_str"`, and its `"score"`, best first.

    Raises:
        TypeError: If a text is no str.
        ValueError: If a text is empty or has not exactly one mask, or if `top_k` is no whole
            number between 1 and the number of candidates.

    Examples:
        >>> def unmasker(texts, top_k):  # instead of transformers.pipeline("fill-mask", model=…)
        ...     return [{"token_str": "she", "score": 0.7}, {"token_str": "he", "score": 0.3}]
        >>> fill_mask("Mary said [MASK] would come.", unmasker, top_k=2)
        [{'token_str': 'she', 'score': 0.7}, {'token_str': 'he', 'score': 0.3}]
        >>> fill_mask(["Mary said she would come."], unmasker)
        Traceback (most recent call last):
        ValueError: sentences[0] must have one [MASK], got 0 in 'Mary said she would come.'

    Source:
        [Hugging Face 2026][huggingface2026fillmask] for the pipeline,
        [Ben Allal et al. 2025][allal2025smollm2] for SmolLM2.
    """
    texts = [sentences] if isinstance(sentences, str) else list(sentences)
    for index, text in enumerate(texts):
        _check_text(index, text)
    if unmasker is None:
        top_k = _whole(top_k, CANDIDATES)
        filled = [_continue(text, top_k) for text in texts]
    else:
        filled = _ask(unmasker, texts, top_k)
    return filled[0] if isinstance(sentences, str) else filled


def log_ratio(
    target_a: float | int | Float[np.ndarray, "*grid"],
    target_b: float | int | Float[np.ndarray, "*grid"],
    prior_a: float | int | Float[np.ndarray, "*grid"],
    prior_b: float | int | Float[np.ndarray, "*grid"],
) -> float | Float[np.ndarray, "*grid"]:
    r"""Measure how much more a sentence speaks for one word than the model does anyway.

    $$\log\frac{P(a \mid \mathrm{template})}{P(b \mid \mathrm{template})}
      - \log\frac{P(a \mid \mathrm{prior})}{P(b \mid \mathrm{prior})}$$

    The template names, say, an occupation ("[MASK] is a nurse."); in the prior it is masked too, or
    replaced by something neutral. What the model prefers in both cancels: a word's frequency is no
    bias of the occupation. Factors common to $a$ and $b$ cancel as well, so `fill_mask`'s scores
    serve as probabilities.

    Args:
        target_a: $P(a \mid \mathrm{template})$; a number, or an array over templates.
        target_b: $P(b \mid \mathrm{template})$.
        prior_a: $P(a \mid \mathrm{prior})$.
        prior_b: $P(b \mid \mathrm{prior})$.

    Returns:
        Above 0 where the sentence speaks for $a$, below where for $b$, in nats.

    Raises:
        ValueError: If a probability is not above 0 and at most 1.

    Examples:
        *he* is three times as likely as *she*, but would be anyway:

        >>> log_ratio(0.3, 0.1, prior_a=0.3, prior_b=0.1)
        0.0
        >>> round(log_ratio(0.1, 0.4, prior_a=0.5, prior_b=0.5), 3)
        -1.386

    Source:
        [Kurita et al. 2019][kurita2019measuring], section 2.
    """
    logs = []
    for name, value in [
        ("target_a", target_a),
        ("target_b", target_b),
        ("prior_a", prior_a),
        ("prior_b", prior_b),
    ]:
        probability = np.asarray(value, dtype=np.float64)
        if not ((probability > 0) & (probability <= 1)).all():
            raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
        logs.append(np.log(probability))
    bias = (logs[0] - logs[1]) - (logs[2] - logs[3])
    return bias if bias.ndim else float(bias)


def _check_text(index: int, text: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"sentences[{index}] must be a str, got {type(text).__name__}")
    if not text.strip():
        raise ValueError(f"sentences[{index}] is empty: it must be a text with one {MASK}")
    if text.count(MASK) != 1:
        count = text.count(MASK)
        raise ValueError(f"sentences[{index}] must have one {MASK}, got {count} in {text!r}")


def _whole(top_k: int, most: int) -> int:
    try:
        number = operator.index(top_k)
    except TypeError:
        number = 0
    if isinstance(top_k, bool) or not 1 <= number <= most:
        raise ValueError(f"top_k must be a whole number from 1 to {most}, got {top_k!r}")
    return number


def _ask(unmasker: Any, texts: list[str], top_k: int) -> list[list[dict[str, Any]]]:
    """Let a transformers pipeline fill the masks, written in its tokenizer's way."""
    mask = getattr(getattr(unmasker, "tokenizer", None), "mask_token", MASK)
    config = getattr(getattr(unmasker, "model", None), "config", None)
    top_k = _whole(top_k, getattr(config, "vocab_size", 1_000_000_000))
    for index, text in enumerate(texts):
        if mask != MASK and mask in text:
            raise ValueError(
                f"sentences[{index}] must have one mask, written {MASK}, got {mask} too in {text!r}"
            )
    answers = unmasker([text.replace(MASK, mask) for text in texts], top_k=top_k) if texts else []
    if len(texts) == 1:  # a pipeline unpacks a list of one
        answers = [answers] if isinstance(answers[0], dict) else answers
    return [
        [{"token_str": word["token_str"], "score": word["score"]} for word in answer]
        for answer in answers
    ]


@functools.cache
def _words(*, spaced: bool) -> Int[Tensor, " words"]:
    """The ids of SmolLM2's tokens that are whole words, after a space or after anything else."""
    _, tokenizer = smollm2()
    ids = range(tokenizer.vocab_size)
    texts = tokenizer.tokens(ids)
    after_space = {text[1:] for text in texts if text[0] == " " and text[1:].isalpha()}
    wanted = {" " + word for word in after_space} if spaced else after_space
    return torch.tensor([number for number in ids if texts[number] in wanted])


@torch.inference_mode()
def _continue(text: str, top_k: int) -> list[dict[str, Any]]:
    """Let SmolLM2 propose words after the left side and judge them by the right side."""
    model, tokenizer = smollm2()
    left, right = text.split(MASK)
    start = tokenizer.special_tokens["<|endoftext|>"]  # what stood before each document in training
    before = [start, *tokenizer.encode(left.removesuffix(" "))]
    after = tokenizer.encode(right)
    words = _words(spaced=left.endswith(" "))
    read = model.new_cache(len(before))
    proposed = model(torch.tensor([before]), cache=read)[0, -1, words].topk(CANDIDATES)
    candidates = words[proposed.indices].tolist()
    scores = proposed.values  # logits: up to a constant, the words' own log-probabilities
    if after:
        filled = torch.tensor([[word, *after] for word in candidates])
        batches = filled.split(max(1, _TOKENS_AT_ONCE // filled.shape[1]))
        scores = scores + torch.cat([_log_probability(model, read, batch) for batch in batches])
    best = scores.double().softmax(0).topk(top_k)
    names = [tokenizer.decode([candidates[index]]).strip() for index in best.indices]
    return [
        {"token_str": name, "score": score}
        for name, score in zip(names, best.values.tolist(), strict=True)
    ]


def _log_probability(
    model: Llama, read: KVCache, token_ids: Int[Tensor, "batch seq"]
) -> Float[Tensor, " batch"]:
    """Of all tokens but the first of each text, after what all of them begin with."""
    batch, seq = token_ids.shape
    cache = model.new_cache(read.length + seq - 1, batch)
    cache.storage[..., : read.length, :] = read.storage
    cache.length = read.length
    logits: Tensor = model(token_ids[:, :-1], cache=cache)
    chosen = logits.gather(-1, token_ids[:, 1:, None]).squeeze(-1)
    return (chosen - logits.logsumexp(-1)).sum(-1)
