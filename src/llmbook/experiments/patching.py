"""Where SmolLM2 keeps the name of the one who gives: its stream, exchanged between two texts.

"When Mary and John went to the store, John gave a drink to" goes on with Mary. With *Mary gave* in
the second half it goes on with John. The texts differ in one token, so the model's stream can be
exchanged, piece by piece.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from llmbook.interpretability import logit_lens, patch
from llmbook.pretrained import smollm2

NAMES: Final = (
    "Mary John Tom Anna James Sarah David Emma Paul Lisa Peter Laura Mark Jane Robert Alice Henry"
    " Kate George Susan"
).split()
PLACES: Final = "store park school station office garden".split()
THINGS: Final = "drink book ticket letter ball key".split()
TEMPLATES: Final = (
    "When {a} and {b} went to the {place}, {who} gave a {thing} to",
    "After {a} and {b} came home from the {place}, {who} handed a {thing} to",
    "While {a} and {b} were at the {place}, {who} offered a {thing} to",
)
LAYERS: Final = (4, 12, 18, 20, 22, 24, 26, 28)


class Prompts(NamedTuple):
    """Texts of one length, side by side, in which the other of two names is the answer.

    Attributes:
        first: Where *b* gives, so that *a* is the answer.
        second: The same where *a* gives.
        a: Tokens of the first names.
        b: Tokens of the second names.
        giver: The position at which the two differ.
    """

    first: Int[Tensor, "texts seq"]
    second: Int[Tensor, "texts seq"]
    a: Int[Tensor, " texts"]
    b: Int[Tensor, " texts"]
    giver: int


def prompts(template: str, count: int, seed: int) -> Prompts:
    """Draw names, places and things for one template.

    Args:
        template: With `{a}`, `{b}`, `{place}`, `{who}` and `{thing}`.
        count: How many texts.
        seed: Of the drawing.

    Raises:
        ValueError: If a word that was drawn is not one token, so that texts differ in length.
    """
    _, tokenizer = smollm2()
    random = np.random.default_rng(seed)
    texts: tuple[list[Any], list[Any]] = ([], [])
    names: list[list[int]] = []
    for _ in range(count):
        a, b = random.choice(NAMES, 2, replace=False)
        words = {"a": a, "b": b, "place": random.choice(PLACES), "thing": random.choice(THINGS)}
        for rows, who in zip(texts, (b, a), strict=True):
            text = template.format(**words, who=who)
            start = tokenizer.special_tokens["<|endoftext|>"]
            rows.append([start, *tokenizer.encode(text)])
        names.append([token for name in (a, b) for token in tokenizer.encode(f" {name}")])
    if {len(row) for rows in texts for row in rows} != {len(texts[0][0])} or len(names[0]) != 2:
        raise ValueError("texts must have one length: each word that is drawn must be one token")
    first, second = (torch.tensor(rows) for rows in texts)
    differ = (first != second).any(0).nonzero().flatten()
    if len(differ) != 1:
        raise ValueError(f"texts must differ at one position, they do at {differ.tolist()}")
    a_ids, b_ids = torch.tensor(names).T
    return Prompts(first, second, a_ids, b_ids, int(differ))


@torch.no_grad()
def exchange(drawn: Prompts, layers: tuple[int, ...] = LAYERS) -> dict[str, Any]:
    r"""Exchange the stream between the two kinds of texts, at the giver and at the last token.

    The preference is $\mathrm{logit}(a) - \mathrm{logit}(b)$. What an exchange moves is a share of
    the way from the reader's own preference to the donor's, in the mean over texts.

    Args:
        drawn: Both kinds of texts.
        layers: Behind which layers.

    Returns:
        "own": both preferences of each text; "lens": at each layer of the logit lens the share of
            texts whose preference has the right sign; and for each place and way a list over
            layers of each text's preference: "giver restored", "giver broken", "last restored",
            "last broken", "other broken" (a control: the token after the giver).
    """
    model, _ = smollm2()
    rows = torch.arange(len(drawn.a))

    def preference(logits: Tensor) -> list[float]:
        chosen = logits[rows, drawn.a] - logits[rows, drawn.b]
        return [round(value, 4) for value in chosen.tolist()]

    lens = logit_lens(model, drawn.first)
    found: dict[str, Any] = {
        "own": [preference(lens[-1]), preference(logit_lens(model, drawn.second)[-1])],
        "lens": [float(np.mean(np.array(preference(logits)) > 0)) for logits in lens],
    }
    for place, position in [("giver", drawn.giver), ("last", -1), ("other", drawn.giver + 1)]:
        for way, reader, donor in [
            ("restored", drawn.second, drawn.first),
            ("broken", drawn.first, drawn.second),
        ]:
            if place == "other" and way == "restored":
                continue
            found[f"{place} {way}"] = [
                preference(logits) for logits in patch(model, reader, donor, layers, [position])
            ]
    return found


@torch.no_grad()
def between_strangers(
    template: str, layers: tuple[int, ...] = (18, 26), count: int = 12, seed: int = 0
) -> dict[str, list[float]]:
    """What comes along when the donor is a text about two other people.

    If the *answer* lies where the stream is exchanged, the donor's answer comes out. If something
    else lies there, such as who gives, it does not.

    Args:
        template: As in `prompts`.
        layers: Behind which to exchange.
        count: Pairs of texts; those with a name in common are left out.
        seed: Of the drawing.

    Returns:
        For each place ("giver", "last") and layer the share of texts in which, of the four names,
            the donor's answer has the highest logit.
    """
    model, _ = smollm2()
    reader, donor = prompts(template, count, 2 * seed), prompts(template, count, 2 * seed + 1)
    names = torch.stack((donor.a, donor.b, reader.a, reader.b), 1)
    strangers = torch.tensor([len(set(row)) == 4 for row in names.tolist()])
    found = {}
    for place, position in (("giver", reader.giver), ("last", -1)):
        logits = patch(model, reader.first, donor.first, layers, [position])
        of_four = logits.gather(-1, names.expand(len(layers), -1, -1))
        theirs = (of_four.argmax(-1) == 0)[:, strangers]
        found[place] = theirs.double().mean(1).tolist()
    return found


def run(seed: int, count: int = 12) -> dict[str, Any]:
    """What is recorded: `exchange` for each template, with `count` texts each."""
    return {
        template: exchange(prompts(template, count, seed * 100 + index))
        for index, template in enumerate(TEMPLATES)
    }
