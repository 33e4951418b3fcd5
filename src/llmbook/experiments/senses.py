"""Words with two meanings: does an encoder's vector of a word say which one is meant?"""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from llmbook.bert import Bert
from llmbook.datasets import DATA
from llmbook.wordpiece import WordPiece

Vectors = Float[np.ndarray, "sentences d_model"]


def sentences() -> dict[str, dict[str, list[str]]]:
    """Six words with two senses each, and ten sentences for each sense, written for this book.

    Examples:
        >>> sentences()["bank"]["river"][0]
        'We sat on the bank and watched the water go by.'
    """
    stored: dict[str, dict[str, list[str]]] = json.loads(
        (DATA / "senses.json").read_text(encoding="utf-8")
    )
    return stored


@torch.no_grad()
def word_vectors(
    model: Bert, tokenizer: WordPiece, texts: Sequence[str], word: str
) -> tuple[Float[np.ndarray, "levels sentences d_model"], Float[np.ndarray, "sentences d_model"]]:
    """A word's own vector in each text and at each level, and what stands around it.

    Args:
        model: The encoder.
        tokenizer: Its own; the word must be one piece.
        texts: Sentences that hold the word once.
        word: In lower case.

    Returns:
        The vectors before the first block and after each; and for each text the mean of the plain
        embeddings of all *other* pieces: the bag of context, which knows no order.

    Raises:
        ValueError: If a text does not hold the word exactly once.
    """
    own, around = [], []
    for text in texts:
        pieces = tokenizer.tokens(text)
        if pieces.count(word) != 1:
            raise ValueError(f"{text!r} must hold {word!r} once, got the pieces {pieces}")
        place = 1 + pieces.index(word)  # after [CLS]
        ids = torch.tensor([tokenizer.encode(text)[0]], device=model.embedding.weight.device)
        own.append(model.levels(ids)[:, 0, place].cpu().numpy())
        others = torch.cat((ids[0, 1:place], ids[0, place + 1 : -1]))
        around.append(model.embedding(others).mean(dim=0).cpu().numpy())
    return np.stack(own, axis=1), np.stack(around)


def right_senses(vectors: Vectors, senses: Sequence[str]) -> int:
    """How many vectors are nearer to the mean of their own sense than to any other's.

    Each is left out of its own mean, so nothing is known of it. Nearness is the cosine.

    Args:
        vectors: One for each sentence.
        senses: The sense of each.

    Raises:
        ValueError: If a sense has a single vector, which would leave it without a mean.

    Examples:
        >>> right_senses(np.array([[1.0, 0], [1, 0.2], [0, 1], [0.2, 1]]), ["a", "a", "b", "b"])
        4
    """
    kinds = np.array(senses)
    names, sizes = np.unique(kinds, return_counts=True)
    if sizes.min() < 2:
        raise ValueError("each of the senses must have at least two vectors")
    right = 0
    for index, vector in enumerate(vectors):
        others = np.arange(len(kinds)) != index
        means = np.stack([vectors[(kinds == name) & others].mean(axis=0) for name in names])
        cosines = means @ vector / (np.linalg.norm(means, axis=1) * np.linalg.norm(vector))
        right += bool(names[cosines.argmax()] == kinds[index])
    return right


def wilson(right: int, asked: int, z: float | int = 1.96) -> tuple[float, float]:
    r"""An interval for a share: Wilson's, which also holds near 0 and 1.

    Args:
        right: Successes.
        asked: Trials.
        z: 1.96 for 95 %.

    Raises:
        ValueError: If `right` is not from 0 to `asked`, or nothing was asked.

    Examples:
        >>> [round(end, 2) for end in wilson(9, 10)]
        [0.6, 0.98]

    Source:
        [Wilson 1927][wilson1927probable].
    """
    if not 0 <= right <= asked or asked < 1:
        raise ValueError(f"right must be from 0 to asked, got right={right} and asked={asked}")
    share = right / asked
    middle = share + z * z / (2 * asked)
    reach = z * math.sqrt(share * (1 - share) / asked + z * z / (4 * asked * asked))
    return (middle - reach) / (1 + z * z / asked), (middle + reach) / (1 + z * z / asked)


def tell_apart(model: Bert, tokenizer: WordPiece) -> dict[str, Any]:
    """Run all words of `sentences`; right answers by level, and for the bag of context.

    Args:
        model: The encoder.
        tokenizer: Its own.

    Returns:
        "levels": right answers for the word's own vector at each level; "context": for the bag
        around it; "asked": how many sentences there are.
    """
    levels, context, asked = None, 0, 0
    for word, by_sense in sentences().items():
        texts = [text for group in by_sense.values() for text in group]
        senses = [sense for sense, group in by_sense.items() for _ in group]
        own, around = word_vectors(model, tokenizer, texts, word)
        found = np.array([right_senses(level, senses) for level in own])
        levels = found if levels is None else levels + found
        context += right_senses(around, senses)
        asked += len(texts)
    assert levels is not None
    return {"levels": levels.tolist(), "context": context, "asked": asked}
