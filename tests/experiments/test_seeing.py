"""`llmbook.experiments.seeing`: what stands in the place of words, and who answers."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from llmbook.experiments.seeing import (
    PLACES,
    QUESTIONS,
    Projector,
    Reader,
    Setup,
    ask,
    fit,
    judged,
    language,
    probe,
    quarters,
    small,
)
from llmbook.experiments.shapes import COLOURS, captions, draw, tokens
from llmbook.llama import Llama, LlamaConfig
from llmbook.vit import VisionTransformer, ViTConfig

CONFIG = LlamaConfig(
    vocab_size=50, d_model=16, num_layers=3, num_heads=4, num_kv_heads=2, d_ff=40, max_len=32
)
PROMPTS = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 6, 7, 8]])
ENDING = torch.tensor([9, 10])


def toy(dtype: torch.dtype = torch.float64) -> Llama:
    """A small Llama with random weights."""
    torch.manual_seed(0)
    return Llama(CONFIG).to(dtype)


def test_words_in_the_place_of_a_picture_are_read_as_the_model_reads_them() -> None:
    """Prompt, words and ending at once, or with the prompt read before: the same logits."""
    model, words = toy(), torch.tensor([[11, 12, 13], [14, 15, 16], [17, 18, 19]])
    asked = torch.tensor([1, 0, 1])
    whole = torch.cat((PROMPTS[asked], words, ENDING.expand(3, -1)), 1)
    expected = model(whole)[:, -1]
    found = Reader(model, PROMPTS, ENDING)(model.embedding(words), asked)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_vectors_and_their_gradients_are_those_of_transformers() -> None:
    """Which takes vectors in the place of words as `inputs_embeds`."""
    from transformers import LlamaConfig as TheirConfig
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        TheirConfig(
            vocab_size=50, hidden_size=16, intermediate_size=40, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=32,
            tie_word_embeddings=True,
        )
    ).eval()  # fmt: skip
    vectors = (torch.randn(2, 4, 16) * 0.1).requires_grad_()
    asked = torch.tensor([0, 1])
    table = theirs.get_input_embeddings()
    inputs = torch.cat((table(PROMPTS[asked]), vectors, table(ENDING.expand(2, -1))), 1)
    expected = theirs(inputs_embeds=inputs).logits[:, -1]
    found = Reader(Llama.from_hf(theirs), PROMPTS, ENDING)(vectors, asked)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        *(torch.autograd.grad(o.square().sum(), vectors)[0] for o in (found, expected)),
        rtol=1e-3,
        atol=1e-6,
    )


def test_the_language_model_gets_no_gradient_and_no_change() -> None:
    model = toy()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    vectors = torch.randn(2, 4, 16, dtype=torch.float64, requires_grad=True)
    Reader(model, PROMPTS, ENDING)(vectors, torch.tensor([0, 1])).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert vectors.grad is not None
    assert vectors.grad.abs().min() > 0
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


def test_a_quarter_holds_its_own_four_squares() -> None:
    tower = VisionTransformer(
        ViTConfig(image_size=24, patch_size=6, d_model=8, num_layers=1, num_heads=2)
    )
    images = torch.rand(2, 3, 24, 24)
    squares = tower.hidden_states(images)[:, 1:]
    found = quarters(tower, images)
    assert found.shape == (2, 4, 32)
    for quarter, numbers in enumerate(
        [(0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15)]
    ):
        torch.testing.assert_close(found[:, quarter], squares[:, list(numbers)].flatten(1))
    assert not found.requires_grad


def test_a_projector_begins_from_uncorrelated_numbers_at_the_scale_of_words() -> None:
    torch.manual_seed(0)
    numbers = torch.randn(500, 4, 12) @ torch.randn(12, 12) * 10 + 3
    embedding = torch.randn(1000, 32) * 0.1
    projector = Projector(numbers, 12, embedding)
    rows = projector.standardised(numbers).flatten(0, 1)
    torch.testing.assert_close(rows.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    torch.testing.assert_close(rows.T @ rows / len(rows), torch.eye(12), atol=1e-3, rtol=0)
    assert 0.03 < projector(numbers).std().item() < 0.1
    assert {name for name, _ in projector.named_parameters()} == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize("width", [0, 13])
def test_a_width_that_is_not_there_is_named(width: int) -> None:
    with pytest.raises(ValueError, match=f"width must be from 1 to 12, got {width}"):
        Projector(torch.randn(9, 4, 12), width, torch.randn(5, 3))


def test_each_question_has_the_answer_that_the_picture_shows() -> None:
    ids = tokens("a red circle below a blue square").expand(200, -1)
    expected = {
        "What colour is the shape at the top?": ("blue", "red"),
        "What colour is the shape at the bottom?": ("red", "blue"),
    }
    found = {
        QUESTIONS[q]: (COLOURS[a], COLOURS[o])
        for q, a, o in zip(*ask(ids, torch.Generator().manual_seed(0)), strict=True)
    }
    assert found == expected
    level = tokens("a red circle right of a blue square").expand(200, -1)
    asked = {QUESTIONS[q] for q in ask(level, torch.Generator().manual_seed(0))[0]}
    assert asked == {f"What colour is the shape {place}?" for place in PLACES[::2]}


def test_every_question_is_asked_as_often() -> None:
    g = torch.Generator().manual_seed(0)
    asked, _, _ = ask(captions(4000, g), g)
    assert (asked.bincount(minlength=4) - 1000).abs().max() < 120


def test_answers_are_judged_by_hand() -> None:
    """Right among all words, right among four, and right for the other thing."""
    words = torch.arange(4) + 5
    logits = torch.zeros(3, 10)
    logits[0, 6] = 1  # the second colour, which is right
    logits[1, [0, 7]] = torch.tensor([2.0, 1.0])  # another word, but of the colours the right one
    logits[2, 8] = 1  # the colour of the other shape
    questions = (torch.tensor([0, 3, 1]), torch.tensor([1, 2, 0]), torch.tensor([0, 2, 3]))

    def read(vectors: Tensor, asked: Tensor) -> Tensor:
        return logits

    found = judged(read, words, torch.zeros(3, 1, 2), questions)
    assert found == pytest.approx({"right": 1 / 3, "of four": 2 / 3, "other": 1 / 2})


def test_a_probe_reads_what_is_there_linearly_and_guesses_else() -> None:
    g = torch.Generator().manual_seed(0)
    ids = captions(3000, g)
    asked, answer, _ = ask(ids, g)
    pixels = draw(ids).flatten(1)[:, ::3]
    found = probe(pixels[:2500], asked[:2500], answer[:2500], pixels[2500:], asked[2500:])
    assert (found == answer[2500:]).double().mean() > 0.95
    noise = torch.randn(3000, 20, generator=g)
    lost = probe(noise[:2500], asked[:2500], answer[:2500], noise[2500:], asked[2500:])
    assert (lost == answer[2500:]).double().mean() < 0.4


@pytest.mark.model
def test_smollm2_is_asked_in_words_of_one_length_and_learns_the_matrix() -> None:
    speaker = language()
    assert [*speaker.read.keys.shape[:2]] == [30, 4]
    assert [*speaker.reworded.keys.shape[:2]] == [30, 4]
    assert len(set(speaker.words.tolist())) == 4
    assert not any(p.requires_grad for p in speaker.read.model.parameters())
    setup = replace(Setup(), tower_steps=1, measured=100, batch=4)
    tower, projector, losses = fit(0, setup, until=2)
    assert len(losses) == 2
    assert not tower.training
    assert projector.linear.weight.shape == (576, 64)


@pytest.mark.model
def test_the_record_of_the_first_steps_is_made_again() -> None:
    from llmbook.experiments.results import recorded

    (then,) = recorded("seeing-small")
    assert small(0)["first"] == pytest.approx(then["first"], rel=0.05)


def test_what_does_not_fit_is_named() -> None:
    small_tower = VisionTransformer(
        ViTConfig(image_size=24, patch_size=12, d_model=8, num_layers=1, num_heads=2)
    )
    with pytest.raises(ValueError, match="tower must have 16 squares, got 4"):
        quarters(small_tower, torch.rand(1, 3, 24, 24))
    with pytest.raises(ValueError, match="vectors must have a width of 16, got 5"):
        Reader(toy(), PROMPTS, ENDING)(torch.zeros(1, 2, 5), torch.tensor([0]))
    one, two = torch.tensor([0]), torch.tensor([2])
    with pytest.raises(ValueError, match=r"every question that is tested, got none of \[2\]"):
        probe(torch.zeros(1, 3), one, one, torch.zeros(1, 3), two)
