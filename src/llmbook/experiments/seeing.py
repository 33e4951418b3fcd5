"""A language model that sees: a tower for pictures, one trained matrix, and SmolLM2 as it is.

The tower is trained as CLIP's on the shapes and then frozen; SmolLM2 has read text alone and is
frozen too. Between them, one matrix turns what the tower makes of a picture into four vectors that
stand in the prompt where words could stand. It learns from questions with their answers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.experiments import word_order
from llmbook.experiments.shapes import (
    COLOURS,
    WORDS,
    canonical,
    caption,
    captions,
    draw,
    withheld_pairs,
)
from llmbook.llama import Llama
from llmbook.positions import rotary_tables
from llmbook.pretrained import load_smollm2
from llmbook.training import Recipe, train
from llmbook.vit import VisionTransformer

PLACES: Final = ("on the left", "at the top", "on the right", "at the bottom")
QUESTIONS: Final = tuple(f"What colour is the shape {place}?" for place in PLACES)
REWORDED: Final = tuple(
    f"Tell me the colour of the {place} shape." for place in ("left", "upper", "right", "lower")
)
"""The same questions in words with which nothing is trained."""
EXAMPLES: Final = (
    "What colour is the shape at the bottom? Picture: a blue circle above a green cross. "
    "Answer: green\n"
    "What colour is the shape on the left? Picture: a red circle left of a yellow cross. "
    "Answer: red\n"
)
"""Two examples in words, which stand before each question."""
SQUARES: Final = 16
"""Of a picture, in which the tower reads it; 2 × 2 of them become one vector."""

CLIP: Final = word_order.Setup()
"""How the tower is trained, unless said otherwise."""

Captions = Int[Tensor, "n 5"]
Images = Float[Tensor, "n 3 24 24"]
Asked = Int[Tensor, " n"]


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        tower: How the tower is trained; also which pairs are withheld.
        tower_steps: Its steps that are made; all of them, if there are none.
        measured: Pictures by which the tower's numbers are brought to one scale.
        width: Numbers that are kept of each quarter.
        steps: In which the matrix is trained.
        batch: Questions in a step.
        lr: Highest learning rate.
        tested: Questions of a test.
    """

    tower: word_order.Setup = CLIP
    tower_steps: int | None = None
    measured: int = 2_000
    width: int = 64
    steps: int = 150
    batch: int = 16
    lr: float | int = 1e-2
    tested: int = 200


@torch.no_grad()
def quarters(tower: VisionTransformer, images: Images) -> Float[Tensor, "n 4 numbers"]:
    """What a tower makes of each quarter of a picture: its squares' vectors, one after the other.

    Args:
        tower: Gives a vector for each of 4 × 4 squares.
        images: Pictures.

    Raises:
        ValueError: If the tower has another number of squares.

    Source:
        Neighbouring squares as one token: [Laurençon et al. 2024][laurencon2024building].
    """
    if tower.config.num_patches != SQUARES:
        raise ValueError(f"tower must have {SQUARES} squares, got {tower.config.num_patches}")
    hidden = tower.hidden_states(images)[:, 1:]
    grid = hidden.unflatten(1, (2, 2, 2, 2))  # row of quarters, row within, column, column within
    numbers: Tensor = grid.transpose(2, 3).flatten(3).flatten(1, 2)
    return numbers


class Projector(nn.Module):
    r"""From a quarter's numbers to a vector among those of words: $W\,\mathrm{PCA}(x) + b$.

    The numbers are first brought to their main directions, each to a variance of 1, as they differ
    by orders of magnitude and gradient descent is slow where they do.

    Args:
        numbers: Quarters of many pictures.
        width: Directions that are kept.
        embedding: Of the language model, whose scale the vectors have at first.

    Examples:
        >>> projector = Projector(torch.randn(50, 4, 10), 8, torch.randn(100, 16) / 10)
        >>> projector(torch.randn(3, 4, 10)).shape
        torch.Size([3, 4, 16])

    Source:
        One matrix between two frozen models: [Liu et al. 2023][liu2023visual], section 4.1.
    """

    mean: Tensor
    directions: Tensor

    def __init__(
        self,
        numbers: Float[Tensor, "n 4 numbers"],
        width: int,
        embedding: Float[Tensor, "vocab d_model"],
    ) -> None:
        super().__init__()
        rows = numbers.flatten(0, 1)
        if not 1 <= width <= min(rows.shape):
            raise ValueError(f"width must be from 1 to {min(rows.shape)}, got {width}")
        mean = rows.mean(0)
        _, sizes, directions = torch.linalg.svd(rows - mean, full_matrices=False)
        scaled = directions[:width].T / sizes[:width] * len(rows) ** 0.5
        self.register_buffer("mean", mean)
        self.register_buffer("directions", scaled)
        self.scale = embedding.std().item()
        self.linear = nn.Linear(width, embedding.shape[1])

    def standardised(self, numbers: Float[Tensor, "n 4 numbers"]) -> Float[Tensor, "n 4 width"]:
        """The numbers in their main directions."""
        return (numbers - self.mean) @ self.directions

    def forward(self, numbers: Float[Tensor, "n 4 numbers"]) -> Float[Tensor, "n 4 d_model"]:
        """Vectors that the language model reads in the place of words."""
        vectors: Tensor = self.scale * self.linear(self.standardised(numbers))
        return vectors


class Reader:
    """A frozen language model that answers questions, whose prompts it has read once.

    Args:
        model: Its weights get no gradient from here on.
        prompts: Token ids of what stands before the picture, for each question.
        ending: Token ids of what stands after it.
    """

    def __init__(
        self, model: Llama, prompts: Int[Tensor, "questions seq"], ending: Int[Tensor, " end"]
    ) -> None:
        self.model = model.requires_grad_(False)
        self.start = prompts.shape[1]
        self.ending = model.embedding(ending)
        cache = model.new_cache(self.start, len(prompts))
        with torch.no_grad():
            model.hidden_states(prompts, cache=cache)
        self.keys, self.values = cache.storage  # (layers, questions, heads, seq, d_head)

    def __call__(
        self, vectors: Float[Tensor, "n seq d_model"], asked: Asked
    ) -> Float[Tensor, "n vocab"]:
        """Logits of the word after the prompt, the vectors and the ending.

        Args:
            vectors: What stands in the place of words; gradients go back to it.
            asked: Which prompt stands before each.

        Raises:
            ValueError: If the vectors have another width than the model's.
        """
        d_model = self.model.config.d_model
        if vectors.shape[-1] != d_model:
            raise ValueError(f"vectors must have a width of {d_model}, got {vectors.shape[-1]}")
        x = torch.cat((vectors, self.ending.expand(len(vectors), -1, -1)), 1)
        c = self.model.config
        places = torch.arange(self.start, self.start + x.shape[1])
        rotary = rotary_tables(places, c.d_head, c.rope_base, x.dtype)
        for block, keys, values in zip(self.model.blocks, self.keys, self.values, strict=True):
            x = block(x, rotary, None, _after(keys[asked], values[asked]))
        return self.model.unembed(self.model.norm(x)[:, -1:])[:, 0]


def _after(keys: Tensor, values: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Put keys and values behind those that are there."""
    return lambda key, value: (torch.cat((keys, key), -2), torch.cat((values, value), -2))


@dataclass(frozen=True)
class Language:
    """SmolLM2 with the questions.

    Attributes:
        read: Answers `QUESTIONS`.
        reworded: Answers `REWORDED`.
        words: Token ids of the four colours as answers.
        encode: Turns text into token ids.
    """

    read: Reader
    reworded: Reader
    words: Int[Tensor, "4"]
    encode: Callable[[str], list[int]]


@cache
def language() -> Language:
    """Load SmolLM2, a copy of its own, and let it read all prompts."""
    model, tokenizer = load_smollm2()
    begin = tokenizer.special_tokens["<|im_start|>"]

    def reader(questions: tuple[str, ...]) -> Reader:
        texts = [f"{EXAMPLES}{question} Picture:" for question in questions]
        prompts = torch.tensor([[begin, *tokenizer.encode(text)] for text in texts])
        return Reader(model, prompts, torch.tensor(tokenizer.encode(". Answer:")))

    words = torch.tensor([tokenizer.encode(f" {word}")[0] for word in COLOURS])
    return Language(reader(QUESTIONS), reader(REWORDED), words, tokenizer.encode)


def ask(token_ids: Captions, generator: torch.Generator) -> tuple[Asked, Asked, Asked]:
    """Draw a question on each picture that has an answer.

    Args:
        token_ids: What the pictures show.
        generator: Where the randomness comes from.

    Returns:
        Numbers of `QUESTIONS`, and of the `COLOURS` that answer them, and of the other shape's.

    Examples:
        >>> from llmbook.experiments.shapes import tokens
        >>> ids = tokens("a red circle left of a blue square")[None]
        >>> asked, answer, other = ask(ids, torch.Generator().manual_seed(0))
        >>> QUESTIONS[asked], COLOURS[answer], COLOURS[other]
        ('What colour is the shape on the left?', 'red', 'blue')
    """
    said = canonical(token_ids)
    second = torch.randint(2, (len(said),), generator=generator)
    asked = said[:, 2] - WORDS.index("left of") + 2 * second
    row = torch.arange(len(said))
    return asked, said[row, 3 * second], said[row, 3 - 3 * second]


Batch = tuple[Float[Tensor, "n 4 numbers"], Asked, Asked]


def fit(
    seed: int, setup: Setup = Setup(), until: int | None = None
) -> tuple[VisionTransformer, Projector, list[float]]:
    """Train a tower, then, with tower and language model frozen, the matrix between them.

    Args:
        seed: Of first weights and of what is drawn.
        setup: All other settings.
        until: Stop the matrix after this step.

    Returns:
        The tower, the matrix, and its loss in each step: nats of the right word, among all words.
    """
    towers, _ = word_order.fit(seed, setup.tower, setup.tower_steps)
    tower = towers.vision.eval()
    assert isinstance(tower, VisionTransformer)
    pairs = withheld_pairs(setup.tower.withheld)
    generator = torch.Generator().manual_seed(seed)

    def scenes(n: int) -> tuple[Captions, Float[Tensor, "n 4 numbers"]]:
        token_ids = captions(n, generator, withheld=pairs, held_out=False)
        return token_ids, quarters(tower, draw(token_ids, generator))

    speaker = language()
    _, numbers = scenes(setup.measured)
    torch.manual_seed(seed)
    projector = Projector(numbers, setup.width, speaker.read.model.embedding.weight)

    def draw_batch(_: torch.Generator) -> Batch:
        token_ids, numbers = scenes(setup.batch)
        asked, answer, _other = ask(token_ids, generator)
        return numbers, asked, answer

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        numbers, asked, answer = batch
        return F.cross_entropy(speaker.read(model(numbers), asked), speaker.words[answer])

    recipe = Recipe(
        steps=setup.steps, lr=setup.lr, warmup=min(10, setup.steps), decay="cosine", weight_decay=0
    )
    losses = train(projector, draw_batch, recipe, generator=generator, loss=loss, until=until)
    return tower, projector, losses


@torch.no_grad()
def judged(
    read: Callable[[Tensor, Tensor], Tensor],
    words: Int[Tensor, "4"],
    vectors: Float[Tensor, "n seq d_model"],
    questions: tuple[Asked, Asked, Asked],
) -> dict[str, float]:
    """Let a model answer.

    Args:
        read: The model with its prompts, a `Reader`.
        words: Token ids of the colours.
        vectors: What stands in the place of the pictures.
        questions: Of each picture, with the right answer and the other shape's, as by `ask`.

    Returns:
        Shares: "right", where the likeliest of all words is the right one; "of four", where it is
        the likeliest of the four colours; and "other", where that is the colour of the other
        shape instead, of the pictures whose shapes differ in it.
    """
    asked, answer, other = questions
    parts = [read(v, a) for v, a in zip(vectors.split(50), asked.split(50), strict=True)]
    logits = torch.cat(parts)
    best = logits[:, words].argmax(1)
    return {
        "right": _share(logits.argmax(1) == words[answer]),
        "of four": _share(best == answer),
        "other": _share((best == other)[answer != other]),
    }


def _share(right: Tensor) -> float:
    return right.double().mean().item()


def probe(
    seen: Float[Tensor, "n numbers"],
    asked: Asked,
    answer: Asked,
    tested: Float[Tensor, "m numbers"],
    tested_asked: Int[Tensor, " m"],
) -> Int[Tensor, " m"]:
    r"""Answer without any language model: for each question a linear layer, by least squares.

    $$W = (X^\top X + n\lambda I)^{-1} X^\top Y, \qquad \lambda = 10^{-3}$$

    Args:
        seen: Numbers of pictures from which is learned.
        asked: The question on each.
        answer: Its answer.
        tested: Numbers of other pictures.
        tested_asked: The questions on them.

    Returns:
        The answers.

    Raises:
        ValueError: If a question is tested of which none is learned from.
    """
    if missing := sorted({*tested_asked.tolist()} - {*asked.tolist()}):
        raise ValueError(f"asked must hold every question that is tested, got none of {missing}")
    found = torch.zeros_like(tested_asked)
    for question in range(len(QUESTIONS)):
        rows, new = asked == question, tested_asked == question
        x = F.pad(seen[rows], (0, 1), value=1.0).double()
        y = F.one_hot(answer[rows], len(COLOURS)).double()
        weight = torch.linalg.solve(x.T @ x + 1e-3 * len(x) * torch.eye(x.shape[1]), x.T @ y)
        found[new] = (F.pad(tested[new], (0, 1), value=1.0).double() @ weight).argmax(1)
    return found


def run(seed: int) -> dict[str, Any]:
    """All of it with one seed, as it is recorded.

    Returns:
        `judged` on scenes that no training has ("scenes") and on scenes with a thing that no
        training has ("pairs"); on the former also with questions "reworded", with "another"
        picture in the place of each, with no picture ("alone"), and with captions in "words";
        "probe", the share that `probe` has right on them, with as many questions to learn from;
        "loss", the mean of the last twenty steps, and the losses of the "first" ten.
    """
    setup = Setup()
    tower, projector, losses = fit(seed, setup)
    pairs = withheld_pairs(setup.tower.withheld)
    generator = torch.Generator().manual_seed(70_000 + seed)
    speaker = language()
    model = speaker.read.model
    tests = {
        "scenes": captions(setup.tested, generator, withheld=pairs, held_out=True),
        "pairs": captions(setup.tested, generator, only=pairs),
    }
    results: dict[str, Any] = {}
    for name, token_ids in tests.items():
        questions = ask(token_ids, generator)
        numbers = quarters(tower, draw(token_ids, generator))
        with torch.no_grad():
            vectors = projector(numbers)
        results[name] = judged(speaker.read, speaker.words, vectors, questions)
        if name == "scenes":
            said = [torch.tensor(speaker.encode(f" {caption(c)}")) for c in canonical(token_ids)]
            length = max(len(text) for text in said)
            whole = torch.tensor([len(text) == length for text in said])
            words = model.embedding(torch.stack([t for t in said if len(t) == length]))
            asked, answer, other = (q[whole] for q in questions)
            answers = partial(judged, words=speaker.words)
            results |= {
                "reworded": answers(speaker.reworded, vectors=vectors, questions=questions),
                "another": answers(speaker.read, vectors=vectors.roll(1, 0), questions=questions),
                "alone": answers(speaker.read, vectors=vectors[:, :0], questions=questions),
                "words": answers(speaker.read, vectors=words, questions=(asked, answer, other)),
            }
            learned = captions(setup.steps * setup.batch, generator, withheld=pairs, held_out=False)
            asked, answer, _ = ask(learned, generator)
            seen = projector.standardised(quarters(tower, draw(learned, generator)))
            new = projector.standardised(numbers)
            guessed = probe(seen.flatten(1), asked, answer, new.flatten(1), questions[0])
            results["probe"] = _share(guessed == questions[1])
    return results | {"loss": sum(losses[-20:]) / 20, "first": losses[:10]}


def small(seed: int) -> dict[str, Any]:
    """A tower of twenty steps and three steps of the matrix: what a page can run.

    Returns:
        The losses of the "first" steps.
    """
    return {"first": fit(seed, Setup(tower_steps=20, measured=200), until=3)[2]}
