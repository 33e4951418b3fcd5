"""The explorer's model: small, the same for the same seed, and packed as its page loads it."""

import itertools

import torch

from llmbook.experiments.explored import CONTEXT, END, VOCAB_SIZE, content, fit, made, rhyme
from llmbook.explorer import unpacked


def test_what_is_made_is_the_model_of_its_seed_rounded_to_sixteen_bits() -> None:
    """Twenty steps, made twice: the losses are the same, and fall."""
    found = made(steps=20, seed=1)
    model, tokenizer, losses = fit(steps=20, seed=1)
    read, text, begin = unpacked(content(found))
    assert found["losses"] == losses
    assert losses[-1] < losses[0] - 0.3
    assert begin == END
    assert text.merges == tokenizer.merges
    assert tokenizer.vocab_size == VOCAB_SIZE == model.config.vocab_size
    assert model.max_len == CONTEXT
    for name, weight in model.state_dict().items():
        assert torch.equal(read.state_dict()[name], weight.half().float())


def test_each_line_of_the_rhyme_holds_the_one_before_it() -> None:
    lines = rhyme().split("\n")
    assert len(lines) == 11
    for shorter, longer in itertools.pairwise(lines):
        assert longer.endswith(" " + shorter.removeprefix("This is "))
