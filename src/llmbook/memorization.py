"""What a model has kept of its training text: exposure, extraction, membership, duplicates."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from llmbook.sizes import whole
from llmbook.training import evaluating

Real = float | int
Scores = Float[Tensor, " records"]

# --- a secret in a known place ---------------------------------------------------------------


@torch.no_grad()
def secret_log_probs(
    model: nn.Module, prompt: Int[Tensor, " seq"], alphabet: Int[Tensor, " symbols"], length: int
) -> Float[Tensor, " candidates"]:
    r"""The log-probability of every secret that could stand after a prompt.

    $$\log p(s \mid x) = \sum_{t} \log p(s_t \mid x, s_{<t})$$

    for all $|A|^n$ sequences $s$ of $n$ symbols of an alphabet $A$, none left out and none drawn.
    Other symbols count too: the probabilities add up to less than 1.

    Args:
        model: Gives logits for token ids.
        prompt: What stands before the secret.
        alphabet: Token ids of the symbols, each another.
        length: $n$.

    Returns:
        Log-probabilities in nats. The candidates are in the order of numbers written with these
            symbols: with digits, entry 417 of a thousand is 417.

    Raises:
        ValueError: If the prompt is empty, a symbol comes twice or there are none, `length` is
            not positive, or there are more than a million candidates.

    Examples:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Embedding(12, 12))
        >>> secret_log_probs(model, torch.tensor([11]), torch.arange(10), 3).shape
        torch.Size([1000])
    """
    n, symbols = whole("length", length), len(alphabet)
    if len(prompt) == 0 or n < 1:
        raise ValueError(
            "prompt must hold a token and length be positive, "
            f"got {len(prompt)} tokens and length {length}"
        )
    if symbols == 0 or len(alphabet.unique()) < symbols:
        raise ValueError(f"alphabet must hold different symbols, got {alphabet.tolist()}")
    if symbols**n > 1_000_000:
        raise ValueError(
            f"there must be at most a million candidates, got {symbols} ** {n} = {symbols**n}"
        )
    grid = [alphabet] * (n - 1)
    known = torch.cartesian_prod(*grid).reshape(-1, n - 1) if grid else alphabet.new_zeros((1, 0))
    found = []
    with evaluating(model):
        for part in known.split(1024):  # the last symbol is read from the logits
            texts = torch.cat((prompt.expand(len(part), -1), part.to(prompt)), 1)
            logs = model(texts)[:, len(prompt) - 1 :].double().log_softmax(-1)
            before = logs[:, :-1].gather(-1, part[..., None].long()).sum((1, 2))
            found.append(before[:, None] + logs[:, -1, alphabet.long()])
    return torch.cat(found).flatten()


def exposure(log_probs: Float[Tensor, " candidates"], secret: int) -> float:
    r"""How far a secret stands out among all that could have been there, in bits.

    $$\mathrm{exposure}(s) = \log_2 |R| - \log_2 \mathrm{rank}(s)$$

    with $R$ all candidates. The likeliest has rank 1, and the exposure $\log_2 |R|$: then one guess
    finds it. What the model does not know has any rank alike, and an exposure that is
    $\log_2 e \approx 1.44$ on average, with as much spread, and not 0.

    Args:
        log_probs: Of every candidate.
        secret: Which of them it is. Among equals its rank is the middle one.

    Raises:
        ValueError: If there is no such candidate, or a number is not a number.

    Examples:
        >>> logs = torch.log(torch.tensor([0.1, 0.4, 0.2, 0.3]))
        >>> [exposure(logs, secret) for secret in (1, 3, 0)]
        [2.0, 1.0, 0.0]

    Source:
        [Carlini et al. 2019][carlini2019secret], section 4.2.
    """
    if not 0 <= whole("secret", secret) < len(log_probs):
        raise ValueError(f"secret must be from 0 to {len(log_probs) - 1}, got {secret}")
    if log_probs.isnan().any():
        raise ValueError("log_probs must be numbers, got nan among them")
    better = int((log_probs > log_probs[secret]).sum())
    equal = int((log_probs == log_probs[secret]).sum())
    return math.log2(len(log_probs)) - math.log2(better + (1 + equal) / 2)


@torch.no_grad()
def verbatim(model: nn.Module, token_ids: Int[Tensor, " seq"], prompt: int) -> int:
    """How many tokens after a prompt a model continues word for word, always with the likeliest.

    Up to the first difference, what it would write is what stands there, so one pass over the text
    shows it.

    Args:
        model: Gives logits for token ids.
        token_ids: A text.
        prompt: Tokens that it is given, at least 1.

    Returns:
        Tokens before the first difference; if there is none, all after the prompt.

    Raises:
        ValueError: If the prompt is empty, or no token comes after it.

    Examples:
        >>> model = nn.Embedding.from_pretrained(torch.eye(4).roll(1, 1))  # 0, 1, 2, 3, 0, ...
        >>> verbatim(model, torch.tensor([0, 1, 2, 3, 3, 0]), prompt=2)
        2

    Source:
        [Carlini et al. 2023][carlini2023quantifying], definition 3.1.
    """
    if not 1 <= whole("prompt", prompt) < len(token_ids):
        raise ValueError(f"prompt must be from 1 to {len(token_ids) - 1} tokens, got {prompt}")
    with evaluating(model):
        written = model(token_ids[None, :-1])[0, prompt - 1 :].argmax(-1)
    return int((written == token_ids[prompt:]).long().cumprod(0).sum())


@torch.no_grad()
def log_likelihoods(
    model: nn.Module, token_ids: Int[Tensor, "records seq"], mask: Bool[Tensor, "records seq"]
) -> Scores:
    r"""The log-probability of each text, in nats: $\sum_t \log p(x_t \mid x_{<t})$.

    Args:
        model: Gives logits for token ids.
        token_ids: Texts, padded on the right.
        mask: True for what is text. The first token of each is given.
    """
    found = []
    with evaluating(model):
        for ids, text in zip(token_ids.split(512), mask.split(512), strict=True):
            losses = F.cross_entropy(
                model(ids[:, :-1]).double().transpose(1, 2), ids[:, 1:].long(), reduction="none"
            )
            found.append(-(losses * text[:, 1:]).sum(1))
    return torch.cat(found)


# --- was it in the training text? ------------------------------------------------------------


def roc(
    members: Scores, others: Float[Tensor, " others"]
) -> tuple[Float[Tensor, " points"], Float[Tensor, " points"]]:
    r"""Of each threshold, the shares of others and of members whose score is at least as high.

    Args:
        members: Scores of what was in the training text, high where the model seems to know it.
        others: Scores of what was not.

    Returns:
        False-positive and true-positive rates, from (0, 0) to (1, 1), each rising.

    Raises:
        ValueError: If one of both is empty, or a score is not a number.

    Examples:
        >>> false, true = roc(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0]))
        >>> false.tolist(), true.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0])
    """
    for name, scores in (("members", members), ("others", others)):
        if len(scores) == 0 or scores.isnan().any():
            raise ValueError(f"{name} must hold scores that are numbers, got {scores.tolist()[:5]}")
    both = torch.cat((members.double(), others.double()))
    thresholds = both.unique().flip(0)
    rates = []
    for scores in (others.double(), members.double()):
        ordered = scores.sort().values
        above = len(scores) - torch.searchsorted(ordered, thresholds)
        rates.append(torch.cat((torch.zeros(1, dtype=torch.double), above.double() / len(scores))))
    return rates[0], rates[1]


def tpr_at(members: Scores, others: Float[Tensor, " others"], fpr: Real) -> float:
    """The largest share of members that is found, at no more than a share of false alarms.

    An attack that is right half of the time about everybody is worth nothing; one that is certain
    of a few is a leak. So the rate counts where false alarms are rare.

    Args:
        members: As in `roc`.
        others: As in `roc`. With fewer than 1 / `fpr` of them, not one false alarm is allowed.
        fpr: From 0 to 1.

    Raises:
        ValueError: If `fpr` is no share, or as in `roc`.

    Examples:
        >>> tpr_at(torch.tensor([5.0, 4.0, 1.0]), torch.tensor([3.0, 2.0, 0.0]), fpr=0.0)
        0.6666666666666666

    Source:
        [Carlini et al. 2022][carlini2022membership], section 3.
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr must be from 0 to 1, got {fpr}")
    false, true = roc(members, others)
    return true[false <= fpr].max().item()


def auc(members: Scores, others: Float[Tensor, " others"]) -> float:
    """How often a member has the higher score than another; of equals, half count. Chance is 0.5.

    Args:
        members: As in `roc`.
        others: As in `roc`.

    Raises:
        ValueError: As in `roc`.

    Examples:
        >>> auc(torch.tensor([3.0, 1.0]), torch.tensor([2.0, 1.0]))
        0.625
    """
    return torch.trapezoid(*reversed(roc(members, others))).item()


# --- what stands there more than once --------------------------------------------------------


def shingles(text: str, width: int = 5) -> frozenset[str]:
    """All pieces of a text that are so many characters wide; a shorter text is its own piece."""
    pieces = range(max(1, len(text) - whole("width", width) + 1))
    return frozenset(text[start : start + width] for start in pieces)


def deduplicate(texts: Sequence[str], similarity: Real = 1.0, width: int = 5) -> list[str]:
    r"""Keep of texts that are alike the first alone.

    Alike are texts whose sets of pieces overlap by at least a share, in Jaccard's measure

    $$J(a, b) = \frac{|S_a \cap S_b|}{|S_a \cup S_b|}$$

    Args:
        texts: In their order.
        similarity: From which on two are alike. At 1 equal texts are, and no others.
        width: Of a piece, in characters.

    Returns:
        Those that are like none that was kept before.

    Raises:
        ValueError: If `similarity` is not above 0 and at most 1, or `width` is not positive.

    Examples:
        >>> texts = ["the pin is 4711.", "the pin is 4711!", "a red horse", "a red horse"]
        >>> deduplicate(texts)
        ['the pin is 4711.', 'the pin is 4711!', 'a red horse']
        >>> deduplicate(texts, similarity=0.8)
        ['the pin is 4711.', 'a red horse']

    Source:
        [Lee et al. 2022][lee2022deduplicating], section 4.2, which estimates the overlap by
        MinHash; here every pair that shares a piece is compared.
    """
    if not 0 < similarity <= 1 or whole("width", width) < 1:
        raise ValueError(
            "similarity must be above 0 and at most 1, and width positive, "
            f"got {similarity} and {width}"
        )
    kept = list(dict.fromkeys(texts))
    if similarity == 1:
        return kept
    found: list[str] = []
    sets: list[frozenset[str]] = []
    holders: dict[str, list[int]] = {}  # of each piece, the kept texts that have it
    for text in kept:
        pieces = shingles(text, width)
        shared: dict[int, int] = {}
        for piece in pieces:
            for holder in holders.get(piece, ()):
                shared[holder] = shared.get(holder, 0) + 1
        if any(
            both / (len(pieces) + len(sets[holder]) - both) >= similarity
            for holder, both in shared.items()
        ):
            continue
        for piece in pieces:
            holders.setdefault(piece, []).append(len(found))
        found.append(text)
        sets.append(pieces)
    return found
