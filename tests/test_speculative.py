from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmbook.generation import generate
from llmbook.gpt import GPT, GPTConfig
from llmbook.llama import Llama, LlamaConfig
from llmbook.speculative import Counts, Draft, ModelDraft, NgramDraft, first_layers, speculate

CONFIG = LlamaConfig(
    vocab_size=12, d_model=16, num_layers=3, num_heads=4, num_kv_heads=2, d_ff=40, max_len=128
)


def speaker(seed: int = 0, config: LlamaConfig = CONFIG) -> Llama:
    """A model with opinions."""
    torch.manual_seed(seed)
    model = Llama(config).double()
    for parameter in model.parameters():
        parameter.data.mul_(8)
    return model


class Fixed:
    """A draft that always says the same, by probabilities of its own."""

    def __init__(self, probs: list[float]) -> None:
        self.probs = torch.tensor(probs, dtype=torch.float64)

    def propose(self, text, count, temperature, generator):  # type: ignore[no-untyped-def]
        """Draw from them."""
        drawn = (
            torch.multinomial(self.probs, count, replacement=True, generator=generator)
            if count
            else torch.zeros(0)
        )
        return drawn.long().tolist(), self.probs.expand(count, -1)


DRAFTS: dict[str, Callable[[Llama], Draft]] = {
    "its own text": lambda model: NgramDraft(),
    "its first layer": lambda model: ModelDraft(first_layers(model, 1)),
    "all of it": lambda model: ModelDraft(model),
    "another model": lambda model: ModelDraft(speaker(7, replace(CONFIG, num_layers=1))),
    "a stubborn one": lambda model: Fixed([1.0] + [0.0] * 11),
}


@pytest.mark.parametrize("draft", DRAFTS)
@settings(max_examples=8, deadline=None)
@given(
    guesses=st.integers(1, 9),
    count=st.integers(1, 40),
    seed=st.integers(0, 3),
    prompt=st.lists(st.integers(0, 11), min_size=1, max_size=6),
)
def test_greedy_tokens_are_those_of_the_model_alone_whatever_guesses(  # type: ignore[no-untyped-def]
    draft, guesses, count, seed, prompt
) -> None:
    model = speaker(seed)
    written = list(speculate(model, DRAFTS[draft](model), prompt, count, guesses=guesses))
    assert written == list(generate(model, prompt, count))


@pytest.mark.parametrize("draft", ["its own text", "another model", "a stubborn one"])
def test_drawn_tokens_have_the_distribution_of_the_model_alone(draft: str) -> None:
    from scipy.stats import chisquare

    model = speaker(1, replace(CONFIG, num_layers=1))
    prompt, temperature, runs = [1, 2, 1], 2.0, 400
    p = (model(torch.tensor([prompt]))[0, -1] / temperature).softmax(-1)
    pairs = torch.cat(
        [
            (model(torch.tensor([[*prompt, first]]))[0, -1] / temperature).softmax(-1)[None]
            for first in range(12)
        ]
    )
    expected = (p[:, None] * pairs).detach()
    generator = torch.Generator().manual_seed(0)
    found = torch.zeros(12, 12)
    for _ in range(runs):
        written = speculate(
            model,
            DRAFTS[draft](model),
            prompt,
            2,
            guesses=2,
            temperature=temperature,
            generator=generator,
        )
        found[tuple(written)] += 1
    often = expected.flatten() * runs >= 5  # rarer pairs are counted together
    observed = [*found.flatten()[often].tolist(), found.flatten()[~often].sum().item()]
    share = [
        *(expected.flatten()[often] * runs).tolist(),
        expected.flatten()[~often].sum().item() * runs,
    ]
    assert chisquare(observed, share).pvalue > 1e-3


def test_a_draft_that_is_the_model_is_always_right_and_saves_passes() -> None:
    model, counts = speaker(), Counts()
    list(speculate(model, ModelDraft(model), [1], 50, guesses=4, counts=counts))
    assert counts.accepted == counts.guessed == 40
    assert counts.passes == 10


def test_with_a_draft_that_is_always_wrong_every_token_is_a_pass() -> None:
    model, counts = speaker(), Counts()
    text = list(generate(model, [1], 20))
    never = next(token for token in range(12) if token not in text)
    list(speculate(model, Fixed([float(i == never) for i in range(12)]), [1], 20, counts=counts))
    assert (counts.passes, counts.accepted) == (20, 0)


def test_the_draft_of_a_text_that_repeats_itself_copies() -> None:
    draft = NgramDraft(2)
    assert draft.propose([1, 2, 3, 9, 1, 2], 9, 0, None) == ([3, 9, 1, 2], None)
    assert draft.propose([5, 2, 7, 8, 2], 1, 0, None) == (
        [7],
        None,
    )  # one token, if two stand nowhere
    assert draft.propose([1, 2, 3], 4, 0, None) == ([], None)
    assert draft.propose([4], 4, 0, None) == ([], None)


def test_first_layers_share_weights_and_leave_the_model_whole() -> None:
    model = speaker()
    draft = first_layers(model, 2)
    assert (
        [len(m.blocks) for m in (model, draft)]
        == [m.config.num_layers for m in (model, draft)]
        == [3, 2]
    )
    assert draft.embedding.weight is model.embedding.weight
    token_ids = torch.tensor([[1, 2, 3]])
    h = model.embedding(token_ids)
    assert draft(token_ids).shape == (1, 3, 12)
    assert torch.equal(first_layers(model, 3)(token_ids), model(token_ids))
    assert h.shape == (1, 3, 16)


def test_a_gpt_can_be_both_and_modes_come_back() -> None:
    torch.manual_seed(0)
    config = GPTConfig(
        vocab_size=12, d_model=16, num_layers=2, num_heads=2, max_len=40, dropout=0.5
    )
    model, draft = GPT(config).double(), GPT(config).double()
    written = list(speculate(model, ModelDraft(draft), [1, 2], 20))
    assert written == list(generate(model, [1, 2], 20))
    assert model.training
    assert draft.training


@pytest.mark.model
def test_smollm2_copies_a_list_in_fewer_passes_than_tokens() -> None:
    from llmbook.pretrained import smollm2

    model, tokenizer = smollm2()
    prompt = tokenizer.encode("red, green, blue, white, red, green, blue, white, red, green, blue,")
    counts = Counts()
    written = list(speculate(model, NgramDraft(), prompt, 24, counts=counts))
    assert written == list(generate(model, prompt, 24))
    assert counts.passes < 12


@pytest.mark.plain
def test_what_does_not_fit_is_named() -> None:
    model, draft = speaker(), NgramDraft()
    with pytest.raises(ValueError, match="at least one token, got none"):
        speculate(model, draft, [], 5)
    with pytest.raises(ValueError, match="must be at least 1, got 0 and 4"):
        speculate(model, draft, [1], 0)
    with pytest.raises(ValueError, match="must be at least 1, got 5 and 0"):
        speculate(model, draft, [1], 5, guesses=0)
    with pytest.raises(ValueError, match="max_len=128"):
        speculate(model, draft, [1], 128)
    with pytest.raises(ValueError, match="temperature must be finite and not negative, got -1"):
        speculate(model, draft, [1], 5, temperature=-1)
    with pytest.raises(TypeError, match="max_new_tokens must be a whole number"):
        speculate(model, draft, [1], 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draft must know the model's 12 tokens, got 3"):
        list(speculate(model, Fixed([0.0, 1.0, 0.0]), [1], 5))
    with pytest.raises(ValueError, match="layers must be from 1 to 3, got 4"):
        first_layers(model, 4)
    with pytest.raises(ValueError, match="order must be at least 1, got 0"):
        NgramDraft(0)
