"""What a model is asked while it reads text that nobody has labelled: three ways to hide a part."""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from llmbook.sizes import whole

IGNORED = -100  # what `torch.nn.functional.cross_entropy` leaves out unless told otherwise

Sentence = Sequence[int]


def mask_tokens(
    token_ids: Int[Tensor, "*batch seq"],
    mask_id: int,
    vocab_size: int,
    *,
    generator: torch.Generator,
    special_ids: Collection[int] = (),
    rate: float | int = 0.15,
    masked: float | int = 0.8,
    replaced: float | int = 0.1,
) -> tuple[Int[Tensor, "*batch seq"], Int[Tensor, "*batch seq"]]:
    """BERT's first objective: choose some tokens, hide most of them, and ask for what they were.

    Each token is chosen by itself, so a text has 15 % on average. What is chosen is hidden behind
    the mask, or replaced by a random token, or left as it is: no mask stands in any text that the
    model will meet later, so it must not rely on seeing one.

    Args:
        token_ids: Texts, padding included.
        mask_id: The token that hides others.
        vocab_size: Tokens from which the random ones are drawn, none of them special.
        generator: Where the randomness comes from, on the tokens' device.
        special_ids: Tokens never to be chosen, such as [CLS], [SEP] and padding; the mask is one
            of them anyway.
        rate: Probability of being chosen.
        masked: Share of the chosen that is hidden.
        replaced: Share of the chosen that is replaced. The rest stays.

    Returns:
        The texts to be read, and as labels (int64, for the loss) the tokens that were chosen, -100
        elsewhere.

    Raises:
        ValueError: If a share is out of its range, the mask is no token of the vocabulary, or all
            of those are special.

    Examples:
        >>> text = torch.arange(10, 30)
        >>> corrupted, labels = mask_tokens(
        ...     text, mask_id=4, vocab_size=50, generator=torch.Generator().manual_seed(0)
        ... )
        >>> corrupted
        tensor([10, 11,  4, 34, 14, 15, 16, 17, 18, 19, 20, 21,  4, 23, 24, 25, 26, 27, 28, 29])
        >>> labels[labels != -100]
        tensor([12, 13, 22])

    Source:
        [Devlin et al. 2019][devlin2019bert], section 3.1, task 1.
    """
    _check_integers("token_ids", token_ids)
    for name, share in (("rate", rate), ("masked", masked), ("replaced", replaced)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {share}")
    if masked + replaced > 1 + 1e-9:
        raise ValueError(
            f"masked and replaced must not be more than 1 together, got {masked} and {replaced}"
        )
    if not 0 <= mask_id < vocab_size:
        raise ValueError(f"mask_id must be from 0 to {vocab_size - 1}, got {mask_id}")
    vocab_size = whole("vocab_size", vocab_size)
    special = torch.tensor([mask_id, *special_ids], device=token_ids.device)
    vocabulary = torch.arange(vocab_size, device=token_ids.device)
    ordinary = vocabulary[~torch.isin(vocabulary, special)]
    if not len(ordinary):
        raise ValueError(f"special_ids must leave a token of the {vocab_size}, got {special_ids}")
    shape = token_ids.shape
    at: dict[str, Any] = {"generator": generator, "device": token_ids.device}
    chosen = (torch.rand(shape, **at) < rate) & ~torch.isin(token_ids, special)
    labels = token_ids.masked_fill(~chosen, IGNORED).long()  # which cross_entropy needs
    fate = torch.rand(shape, **at)
    random = ordinary[torch.randint(len(ordinary), shape, **at)].to(token_ids.dtype)
    corrupted = token_ids.masked_fill(chosen & (fate < masked), mask_id)
    swapped = chosen & (fate >= masked) & (fate < masked + replaced)
    return torch.where(swapped, random, corrupted), labels


def next_sentence_pairs(
    documents: Sequence[Sequence[Sentence]], *, generator: torch.Generator
) -> tuple[list[tuple[Sentence, Sentence]], Int[Tensor, " pairs"]]:
    """BERT's second objective: does the second sentence follow the first, or come from elsewhere?

    Every sentence with another after it is the first of one pair. In half of all pairs, chosen at
    random, the second is a random sentence of another document. That can have the same words, as
    sentences of stories do; then nobody could tell.

    Args:
        documents: Each a list of sentences, each of those a list of token ids.
        generator: Where the randomness comes from, on the CPU.

    Returns:
        Pairs, in the order of the text, and for each 0 if the second follows and 1 if it does not,
        as `llmbook.bert.Bert` has it. With an odd number of pairs, one more follows.

    Raises:
        ValueError: If no sentence has another after it, or all are of one document.

    Examples:
        >>> documents = [[[1], [2], [3]], [[7], [8], [9]]]
        >>> pairs, labels = next_sentence_pairs(
        ...     documents, generator=torch.Generator().manual_seed(0)
        ... )
        >>> pairs
        [([1], [2]), ([2], [7]), ([7], [3]), ([8], [9])]
        >>> labels
        tensor([0, 1, 1, 0])

    Source:
        [Devlin et al. 2019][devlin2019bert], section 3.1, task 2.
    """
    sentences = [sentence for document in documents for sentence in document]
    if sum(map(bool, map(len, documents))) < 2 or max(map(len, documents)) < 2:
        raise ValueError(
            "documents must be at least two, and one must have two sentences, "
            f"got {[len(document) for document in documents]} sentences"
        )
    neighbours, elsewhere, start = [], [], 0
    for document in documents:
        neighbours += list(pairwise(document))
        others = len(sentences) - len(document)
        drawn = torch.randint(max(others, 1), (max(len(document) - 1, 0),), generator=generator)
        # Those before the document keep their number, those after it come after its sentences.
        elsewhere += [sentences[i if i < start else i + len(document)] for i in drawn.tolist()]
        start += len(document)
    labels = (torch.randperm(len(neighbours), generator=generator) < len(neighbours) // 2).long()
    rows = zip(neighbours, elsewhere, labels.tolist(), strict=True)
    return [(first, other if label else second) for (first, second), other, label in rows], labels


def corrupt_spans(
    token_ids: Int[Tensor, " seq"],
    sentinels: Sequence[int],
    *,
    generator: torch.Generator,
    rate: float | int = 0.15,
    mean_length: float | int = 3.0,
) -> tuple[Int[Tensor, " inputs"], Int[Tensor, " targets"]]:
    r"""T5's objective: cut spans out of a text, and ask for them in order.

    Of $n$ tokens, $\mathrm{round}(rn)$ are cut out, but at least one and not all, in
    $\mathrm{round}(rn / \mu)$ spans, but at least one and no more than can be told apart. The
    numbers are exact, and all ways to divide the tokens so are equally likely: no span is empty,
    no two touch, and the text begins with a token that is kept. It may end with one too, as in
    the paper's example. (T5's own code always cuts out the end.)

    Args:
        token_ids: A text.
        sentinels: Tokens that stand for the spans, in their order, and one more for the end.
        generator: Where the randomness comes from, on the CPU.
        rate: Share $r$ of tokens to cut out.
        mean_length: Tokens of a span $\mu$, on average.

    Returns:
        The text with a sentinel for each span, and each sentinel with its span and the next
        sentinel as the end.

    Raises:
        ValueError: If there are fewer than two tokens, a number is out of its range, or the
            sentinels are too few, not all different, or tokens of the text.

    Examples:
        >>> inputs, targets = corrupt_spans(
        ...     torch.arange(20), [99, 98, 97], generator=torch.Generator().manual_seed(1)
        ... )
        >>> inputs
        tensor([ 0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 99, 13, 14, 15, 16, 17, 18, 19])
        >>> targets
        tensor([99, 10, 11, 12, 98])

    Source:
        [Raffel et al. 2020][raffel2020exploring], sections 3.1.4 and 3.3.4.
    """
    _check_integers("token_ids", token_ids)
    if token_ids.ndim != 1 or len(token_ids) < 2:
        raise ValueError(
            f"token_ids must be a text of at least two tokens, got shape {tuple(token_ids.shape)}"
        )
    if not 0 < rate < 1:
        raise ValueError(f"rate must be between 0 and 1, got {rate}")
    if not mean_length >= 1:
        raise ValueError(f"mean_length must be at least 1, got {mean_length}")
    cut = min(max(round(len(token_ids) * rate), 1), len(token_ids) - 1)
    kept = len(token_ids) - cut
    count = min(max(round(cut / mean_length), 1), cut, kept)
    known = _known_sentinels(sentinels)
    if len(known) <= count:
        raise ValueError(
            f"sentinels must be at least {count + 1} for {len(token_ids)} tokens, got {len(known)}"
        )
    if clash := set(known) & set(token_ids.tolist()):
        raise ValueError(f"sentinels must not be tokens of the text, got {sorted(clash)}")
    spans = _divide(cut, count, generator)
    *between, last = _divide(kept + 1, count + 1, generator)  # the last piece may be empty
    sizes = [size for pair in zip(between, spans, strict=True) for size in pair]
    pieces = token_ids.split([*sizes, last - 1])
    one = token_ids.new_tensor(known[: count + 1]).split(1)
    inputs = [part for pair in zip(pieces[::2], one, strict=True) for part in pair][:-1]
    targets = [part for pair in zip(one, pieces[1::2], strict=False) for part in pair]
    return torch.cat(inputs), torch.cat([*targets, one[-1]])


def restore_spans(
    inputs: Int[Tensor, " inputs"], targets: Int[Tensor, " targets"], sentinels: Sequence[int]
) -> Int[Tensor, " seq"]:
    """Put spans back where they were cut out: the inverse of `corrupt_spans`.

    It takes empty spans too, since a model may well write one.

    Args:
        inputs: A text with sentinels.
        targets: Each sentinel with its span, and the next sentinel as the end.
        sentinels: All sentinels in their order.

    Returns:
        The text without gaps.

    Raises:
        ValueError: If the sentinels of the text or of the targets are others or in another order,
            or the targets do not begin and end with one.

    Examples:
        >>> restore_spans(torch.tensor([5, 99, 8, 98]), torch.tensor([99, 6, 7, 98, 9, 97]),
        ...               sentinels=[99, 98, 97])
        tensor([5, 6, 7, 8, 9])

    Source:
        [Raffel et al. 2020][raffel2020exploring], section 3.1.4.
    """
    _check_integers("inputs", inputs)
    _check_integers("targets", targets)
    known, text, answer = _known_sentinels(sentinels), inputs.tolist(), targets.tolist()
    gaps = [token for token in text if token in known]
    if gaps != known[: len(gaps)] or len(gaps) == len(known):
        raise ValueError(
            f"inputs must have the first of the sentinels {known} in their order, each once and "
            f"one left for the end, got {gaps}"
        )
    marks = [token for token in answer if token in known]
    if marks != known[: len(gaps) + 1]:
        raise ValueError(f"targets must have the sentinels {known[: len(gaps) + 1]}, got {marks}")
    if answer[0] != marks[0] or answer[-1] != marks[-1]:
        raise ValueError(
            f"targets must begin with {marks[0]} and end with {marks[-1]}, "
            f"got {answer[0]} and {answer[-1]}"
        )
    ends = [answer.index(mark) for mark in marks]
    spans = {mark: answer[a + 1 : b] for mark, (a, b) in zip(gaps, pairwise(ends), strict=True)}
    return inputs.new_tensor([token for kept in text for token in spans.get(kept, [kept])])


def _divide(total: int, pieces: int, generator: torch.Generator) -> list[int]:
    """Sizes of so many pieces, none empty, each way as likely as any other."""
    cuts = torch.randperm(total - 1, generator=generator)[: pieces - 1].sort().values + 1
    ends = [0, *cuts.tolist(), total]
    return [end - start for start, end in pairwise(ends)]


def _known_sentinels(sentinels: Sequence[int]) -> list[int]:
    known = [whole("sentinels", sentinel) for sentinel in sentinels]
    if len(set(known)) < len(known):
        raise ValueError(f"sentinels must all be different, got {known}")
    return known


def _check_integers(name: str, tokens: Tensor) -> None:
    if tokens.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"{name} must be int64 or int32, got dtype {tokens.dtype}")
