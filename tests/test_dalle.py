"""`llmbook.dalle`: one GPT over words and codes, drawn as it was trained, with and without a text."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from llmbook.dalle import Dalle, best_of, dalle_loss, drop_text
from llmbook.generation import generate


def model(seed: int = 0, num_codes: int = 5, picture_len: int = 4) -> Dalle:
    torch.manual_seed(seed)
    made = Dalle(6, num_codes, 3, picture_len, d_model=16, num_layers=2, num_heads=2)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made.double().eval()


def text_and_codes(batch: int = 2, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randint(6, (batch, 3), generator=generator),
        torch.randint(5, (batch, 4), generator=generator),
    )


def test_logits_are_those_of_the_gpt_within_each_part_of_its_vocabulary() -> None:
    dalle = model()
    text, codes = text_and_codes()
    words, picture = dalle(text, codes)
    tokens = torch.cat((text, codes + 7), 1)
    for place, (ours, first, end) in enumerate(
        [(words[:, 0], 0, 6), (words[:, 1], 0, 6)] + [(picture[:, i], 7, 12) for i in range(4)]
    ):
        theirs = dalle.gpt(tokens[:, : place + 1])[:, -1, first:end]
        torch.testing.assert_close(ours, theirs)


def test_a_code_depends_on_the_text_and_on_earlier_codes_alone() -> None:
    dalle = model()
    text, codes = text_and_codes(1)
    picture = dalle(text, codes)[1]
    later = codes.clone()
    later[0, 2] = (later[0, 2] + 1) % 5
    changed = (dalle(text, later)[1] - picture).abs().amax(-1)[0]
    assert (changed[:3] == 0).all()
    assert changed[3] > 1e-4
    other = (text + 1) % 6
    assert ((dalle(other, codes)[1] - picture).abs().amax(-1) > 1e-4).all()


def test_the_loss_is_that_of_both_parts_and_texts_not_given_are_not_learnt() -> None:
    dalle = model()
    text, codes = text_and_codes(3)
    words, picture = dalle(text, codes)
    of_text = F.cross_entropy(words.flatten(0, 1), text[:, 1:].flatten())
    of_picture = F.cross_entropy(picture.flatten(0, 1), codes.flatten())
    torch.testing.assert_close(dalle_loss(dalle, (text, codes)), of_picture * 7 / 8 + of_text / 8)
    nothing = torch.full_like(text, dalle.nothing)
    free = dalle(nothing, codes)[1]
    expected = F.cross_entropy(free.flatten(0, 1), codes.flatten()) * 7 / 8
    torch.testing.assert_close(dalle_loss(dalle, (nothing, codes)), expected)


def test_codes_are_drawn_with_the_probability_that_the_model_gives_them() -> None:
    """Of all pictures of two codes, at a temperature, each as often as it should be."""
    dalle = model(num_codes=3, picture_len=2)
    text = torch.tensor([[1, 2, 3]])
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))
    for temperature, guidance in ((1.0, 1.0), (0.7, 2.0)):
        logits = dalle(text.expand(9, 3), every)[1].log_softmax(-1)
        if guidance != 1:
            free = dalle(torch.full((9, 3), dalle.nothing), every)[1].log_softmax(-1)
            logits = free + guidance * (logits - free)
        shares = (logits / temperature).softmax(-1)
        expected = shares.gather(2, every[:, :, None]).prod(1)[:, 0]
        torch.testing.assert_close(expected.sum(), torch.tensor(1.0, dtype=torch.double))
        drawn = dalle.draw(
            text.expand(20_000, 3),
            torch.Generator().manual_seed(0),
            temperature=temperature,
            guidance=guidance,
        )
        found = (drawn[:, 0] * 3 + drawn[:, 1]).bincount(minlength=9) / 20_000
        torch.testing.assert_close(found.double(), expected, atol=0.015, rtol=0)


def test_at_a_low_temperature_it_writes_what_greedy_decoding_writes() -> None:
    dalle = model()
    text, _ = text_and_codes(1)
    drawn = dalle.draw(text, torch.Generator().manual_seed(0), temperature=1e-6)
    tokens = text
    for _ in range(4):
        best = dalle.gpt(tokens)[:, -1, 7:].argmax(-1, keepdim=True)
        tokens = torch.cat((tokens, best + 7), 1)
    assert torch.equal(drawn + 7, tokens[:, 3:])
    assert generate(dalle.gpt, text[0].tolist(), 1, temperature=0)  # it is the book's own GPT


def test_drawing_leaves_the_mode_and_no_gradients() -> None:
    dalle = model().train()
    drawn = dalle.draw(text_and_codes()[0], torch.Generator(), guidance=3)
    assert dalle.training
    assert not drawn.requires_grad
    assert 0 <= drawn.min() <= drawn.max() < 5


@given(probability=st.floats(0, 1), seed=st.integers(0, 99))
def test_texts_are_dropped_whole_and_as_often_as_asked(probability: float, seed: int) -> None:
    text = torch.zeros(2_000, 3, dtype=torch.long)
    dropped = drop_text(text, 9, torch.Generator().manual_seed(seed), probability)
    assert set(dropped.sum(1).tolist()) <= {0, 27}
    assert abs((dropped[:, 0] == 9).double().mean().item() - probability) < 0.06
    assert not text.any()


def test_the_best_of_several_has_the_highest_score_for_each_text() -> None:
    drawn = iter([torch.tensor([[1.0], [5.0]]), torch.tensor([[2.0], [4.0]])])
    kept = best_of(lambda: next(drawn), lambda pictures: pictures[:, 0], 2)
    assert kept.tolist() == [[2.0], [5.0]]


@pytest.mark.plain
def test_wrong_input_is_named() -> None:
    dalle, generator = model(), torch.Generator()
    text, codes = text_and_codes()
    with pytest.raises(ValueError, match=r"text must be of shape \(batch, 3\), got \(2, 2\)"):
        dalle(text[:, 1:], codes)
    with pytest.raises(ValueError, match=r"codes must be of shape \(2, 4\), got \(2, 3\)"):
        dalle(text, codes[:, 1:])
    with pytest.raises(ValueError, match="codes must be from 0 to 4, got 5 to 9"):
        dalle(text, 0 * codes + torch.tensor([5, 6, 7, 9]))
    with pytest.raises(ValueError, match="text must be from 0 to 6, got 7 to 7"):
        dalle.draw(0 * text + 7, generator)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        dalle.draw(text, generator, temperature=0)
    with pytest.raises(ValueError, match="probability must be from 0 to 1, got 2"):
        drop_text(text, 6, generator, 2)
    with pytest.raises(ValueError, match="count must be positive, got 0"):
        best_of(lambda: torch.ones(1, 1), lambda x: x[:, 0], 0)
    with pytest.raises(ValueError, match="text_len must be positive, got 0"):
        Dalle(6, 5, 0, 4)
