r"""How a bias is measured: in what a model expects, and in what stands near in its vectors."""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from llmbook.generation import KVCache
from llmbook.llama import Llama
from llmbook.pretrained import smollm2

MASK = "[MASK]"
CANDIDATES = 200
PRONOUNS: Final = ("he", "she", "they")
NEUTRAL: Final = (
    "person", "friend", "stranger", "neighbor", "visitor", "guest", "customer", "colleague",
    "resident", "witness",
)  # fmt: skip
"""People of whom no job is known, for the prior of `pronoun_gaps`."""

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


@dataclass(frozen=True)
class PronounGaps:
    """What `pronoun_gaps` measured.

    Attributes:
        gaps: $s$ in nats, above 0 where the job speaks for *he*.
        prior: The log-odds of *he* against *she* of each neutral word, in each template.
        they: The probability of *they* among the three pronouns.
        mass: The probability of the three together, among all next tokens.
    """

    gaps: Float[np.ndarray, "jobs templates"]
    prior: Float[np.ndarray, "neutral templates"]
    they: Float[np.ndarray, "jobs templates"]
    mass: Float[np.ndarray, "jobs templates"]


def pronoun_gaps(
    jobs: Sequence[str], templates: Sequence[str], neutral: Sequence[str] = NEUTRAL
) -> PronounGaps:
    r"""How far a job moves SmolLM2 from *she* to *he* as the next word.

    $$s(j, t) = \log\frac{P(\textit{he}\mid t(j))}{P(\textit{she}\mid t(j))}
      - \frac{1}{|N|}\sum_{n\in N}\log\frac{P(\textit{he}\mid t(n))}{P(\textit{she}\mid t(n))}$$

    where $t(j)$ is a template with a job in its place, and $N$ are words for people whose job is
    not known. What the model prefers with everybody cancels, as in `log_ratio`.

    Args:
        jobs: Words or phrases to put into the templates.
        templates: Beginnings of sentences, each with one `{}` for the job; the pronoun is the next
            word.
        neutral: The words of the prior, $N$.

    Raises:
        ValueError: If one of the three is empty or a template has not exactly one `{}`.

    Examples:
        >>> found = pronoun_gaps(["nurse", "carpenter"], ["The {} was late because"])
        >>> (found.gaps[:, 0] > 0).tolist()
        [False, True]

    Source:
        [Kurita et al. 2019][kurita2019measuring], section 2, with neutral words for the masked job.
    """
    for name, given in [("jobs", jobs), ("templates", templates), ("neutral", neutral)]:
        if isinstance(given, str) or not given:
            raise ValueError(f"{name} must be a list with at least one text, got {given!r}")
    for index, template in enumerate(templates):
        if template.count("{}") != 1:
            raise ValueError(f"templates[{index}] must have one {{}}, got {template!r}")
    everybody = [*jobs, *neutral]
    texts = [template.replace("{}", word) for word in everybody for template in templates]
    logs = next_word_log_probs(texts, PRONOUNS).reshape(len(everybody), len(templates), 3)
    odds, total = logs[..., 0] - logs[..., 1], np.exp(logs).sum(-1)
    count = len(jobs)
    return PronounGaps(
        gaps=odds[:count] - odds[count:].mean(0),
        prior=odds[count:],
        they=np.exp(logs[:count, :, 2]) / total[:count],
        mass=total[:count],
    )


@torch.inference_mode()
def next_word_log_probs(
    texts: Sequence[str], words: Sequence[str]
) -> Float[np.ndarray, "texts words"]:
    """How likely SmolLM2 finds each word as the next one.

    Args:
        texts: Beginnings, without a space at the end; each is read as the beginning of a document.
        words: Each must be one token with a space before it.

    Returns:
        Natural logarithms of the probabilities among all next tokens.

    Raises:
        ValueError: If a word is not one token, or a text is empty or ends with a space.

    Examples:
        >>> next_word_log_probs(["The capital of France is"], ["Paris", "Rome"]).argmax()
        np.int64(0)
    """
    model, tokenizer = smollm2()
    tokens = [tokenizer.encode(" " + word) for word in words]
    for word, ids in zip(words, tokens, strict=True):
        if len(ids) != 1:
            raise ValueError(f"words must be one token each, got {word!r}, which is {len(ids)}")
    for index, text in enumerate(texts):
        if not text or text[-1].isspace():
            raise ValueError(f"texts[{index}] must be a text without a space at its end: {text!r}")
    wanted = torch.tensor(tokens)[:, 0]
    start = tokenizer.special_tokens["<|endoftext|>"]
    encoded = [[start, *tokenizer.encode(text)] for text in texts]
    found = np.empty((len(texts), len(words)))
    in_order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))
    for length, alike in itertools.groupby(in_order, key=lambda index: len(encoded[index])):
        places = torch.tensor(list(alike))
        for batch in places.split(max(1, _TOKENS_AT_ONCE // length)):
            alike_ids = torch.tensor([encoded[index] for index in batch])
            logs = model(alike_ids)[:, -1].double().log_softmax(-1)
            found[batch.numpy()] = logs[:, wanted].numpy()
    return found


def bootstrap(
    grid: Float[np.ndarray, "rows columns"],
    statistic: Callable[[NDArray[Any], NDArray[Any]], float],
    *,
    draws: int = 2000,
    confidence: float | int = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """An interval for a number that depends on a choice of rows *and* of columns.

    Rows (jobs) and columns (templates) are drawn with replacement, both at once: other jobs and
    other wordings could have been asked.

    Args:
        grid: What was measured.
        statistic: Of a drawn grid and of the numbers of its rows in the old one.
        draws: How often.
        confidence: The share of draws inside.
        seed: Of the drawing.

    Returns:
        The lower and the upper end.

    Raises:
        ValueError: If `draws` is not positive or `confidence` is not between 0 and 1.

    Examples:
        >>> bootstrap(np.array([[1.0, 1.0], [1.0, 1.0]]), lambda grid, rows: grid.mean(), draws=9)
        (1.0, 1.0)

    Source:
        [Owen 2007][owen2007pigeonhole], the pigeonhole bootstrap.
    """
    if draws < 1:
        raise ValueError(f"draws must be positive, got {draws}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be above 0 and below 1, got {confidence}")
    random = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        rows, columns = (np.asarray(random.integers(0, n, n)) for n in grid.shape)
        found.append(statistic(grid[np.ix_(rows, columns)], rows))
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class Weat:
    """What `weat` found.

    Attributes:
        difference: Of the two means of $s$, in units of cosine.
        effect: $d$, the same in standard deviations, from -2 to 2.
        p_value: The share of partitions whose statistic is at least as large.
        exact: Whether all partitions were tried.
    """

    difference: float
    effect: float
    p_value: float
    exact: bool


def weat(
    x: Float[np.ndarray, "x d_model"],
    y: Float[np.ndarray, "y d_model"],
    a: Float[np.ndarray, "a d_model"],
    b: Float[np.ndarray, "b d_model"],
    *,
    permutations: int = 10_000,
    seed: int = 0,
) -> Weat:
    r"""Word Embedding Association Test: do words X lie nearer to A than to B, more than words Y do?

    $$s(w) = \operatorname{mean}_{a\in A}\cos(w, a) - \operatorname{mean}_{b\in B}\cos(w, b)
      \qquad d = \frac{\operatorname{mean}_{x\in X} s(x) - \operatorname{mean}_{y\in Y} s(y)}
      {\operatorname{std}_{w\in X\cup Y} s(w)}$$

    The p-value is one-sided: of the ways to divide X and Y into two sets of their sizes, the share
    with a difference of means at least as large. All are tried if they are at most
    `permutations`; else so many are drawn, and the given one counts as one of them.

    Args:
        x: Vectors of the first target words.
        y: Of the second.
        a: Of the first attribute words.
        b: Of the second.
        permutations: How many ways to try.
        seed: Of the drawing.

    Raises:
        ValueError: If a set is empty, a vector is zero or not finite, all targets are alike, or
            `permutations` is not positive.

    Examples:
        >>> x, y = np.array([[1.0, 0.1], [1, 0.2]]), np.array([[0.1, 1.0], [0.3, 1]])
        >>> found = weat(x, y, a=np.array([[1.0, 0]]), b=np.array([[0, 1.0]]))
        >>> round(found.effect, 2), round(found.p_value, 3), found.exact
        (1.99, 0.167, True)

    Source:
        [Caliskan et al. 2017][caliskan2017semantics], supplementary materials. The standard
        deviation divides by the number of words, not by one less.
    """
    if permutations < 1:
        raise ValueError(f"permutations must be positive, got {permutations}")
    unit = [_unit(name, of) for name, of in [("x", x), ("y", y), ("a", a), ("b", b)]]
    targets, first = np.concatenate(unit[:2]), len(x)
    s = targets @ unit[2].mean(0) - targets @ unit[3].mean(0)
    if s.std() < 1e-12:
        raise ValueError("x and y must hold different associations, all are the same")
    difference = float(s[:first].mean() - s[first:].mean())
    exact = comb(len(s), first) <= permutations
    if exact:
        ways = np.array(list(itertools.combinations(range(len(s)), first)))
    else:
        random = np.random.default_rng(seed)
        ways = np.argsort(random.random((permutations, len(s))), axis=1)[:, :first]
    inside = s[ways].sum(axis=1)
    others = inside / first - (s.sum() - inside) / (len(s) - first)
    as_large = int((others >= difference - 1e-12).sum())
    p_value = as_large / len(ways) if exact else (as_large + 1) / (len(ways) + 1)
    return Weat(difference, float(difference / s.std()), p_value, exact)


def _unit(
    name: str, vectors: Float[np.ndarray, "words d_model"]
) -> Float[np.ndarray, "words d_model"]:
    if not len(vectors):
        raise ValueError(f"{name} must hold at least one vector, got none")
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise ValueError(f"{name} must hold finite vectors that are not zero")
    return np.asarray(vectors / lengths)


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
