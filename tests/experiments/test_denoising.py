"""`llmbook.experiments.denoising`: the same first stage, as many operations, and runs of few steps."""

from dataclasses import replace

import pytest
import torch

from llmbook.experiments import drawings
from llmbook.experiments.denoising import (
    Diffuser,
    Setup,
    drawing_operations,
    latents_of,
    learn,
    measure,
    out_of_noise,
    steps_for,
)
from llmbook.experiments.drawings import SIDE, decoder_operations, from_hex, shared_codes
from llmbook.experiments.results import recorded
from llmbook.experiments.shapes import Judge, captions, sample

DATA = drawings.Setup(
    pictures=64, batch=8, num_codes=8, plain_steps=2, code_steps=2, steps=3, tested=10
)
TINY = Setup(data=DATA, total=8, back=4)


@pytest.fixture(scope="module")
def diffuser() -> Diffuser:
    return learn(shared_codes(0, DATA), 0, TINY)


def test_training_takes_as_many_operations_as_the_decoder() -> None:
    steps = steps_for(TINY)
    one = decoder_operations(replace(DATA, steps=1))
    assert steps_for(replace(TINY, operations=one * 10)) >= 10  # a step of it is a little cheaper
    assert abs(steps_for(replace(TINY, data=replace(DATA, steps=300))) - 100 * steps) < 100
    assert drawing_operations(TINY) < drawing_operations(replace(TINY, back=8))


def test_what_the_encoder_gives_is_drawn_again_by_the_decoder(diffuser: Diffuser) -> None:
    _, images = sample(5, torch.Generator().manual_seed(0))
    latents = latents_of(diffuser.vqvae, images)
    assert latents.shape == (5, 16, SIDE, SIDE)
    autoencoder = diffuser.vqvae.autoencoder
    with torch.no_grad():
        again = autoencoder.decode(autoencoder.encode(images)).clamp(0, 1)
    normal = (latents - diffuser.mean) / diffuser.std
    torch.testing.assert_close(diffuser.decode(normal), again)


def test_a_seed_decides_what_comes_out_of_noise(diffuser: Diffuser) -> None:
    texts = captions(3, torch.Generator().manual_seed(0))
    drawn = [diffuser.draw(texts, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert len(diffuser.way(texts, torch.Generator())) == TINY.back + 1
    shown = out_of_noise(diffuser, 0, shown=3)
    assert shown["steps"] == [0, 2, 4]
    pictures = [from_hex(picture) for picture in shown["pictures"]]
    assert not torch.equal(pictures[0], pictures[2])
    assert not diffuser.model.training


def test_the_text_is_read_and_without_it_guidance_changes_nothing(diffuser: Diffuser) -> None:
    with torch.no_grad():  # two steps do not teach it
        for parameter in diffuser.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator()))
    one, other = captions(2, torch.Generator().manual_seed(1)).split(1)

    def draw(text: torch.Tensor, guidance: float) -> torch.Tensor:
        return diffuser.draw(text, torch.Generator().manual_seed(0), guidance=guidance)

    assert not torch.allclose(draw(one, 1), draw(other, 1))
    torch.testing.assert_close(draw(one, 0), draw(other, 0), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(draw(one, 1), draw(one, 3))


def test_it_is_judged_as_the_decoder_is(diffuser: Diffuser) -> None:
    found = measure(diffuser, Judge(), 0, tested=12)
    assert set(found) == {"trained", "new", "withheld", "shuffled", "things"}


def test_the_record_is_whole_and_its_shares_add_up() -> None:
    for run, other in zip(recorded("denoising"), recorded("drawings"), strict=True):
        assert run["seed"] == other["seed"]
        for found in (run["drawn"], *run["guidance"].values(), *run["back"].values()):
            for kind in ("trained", "new", "withheld", "shuffled"):
                assert found[kind]["all"] <= min(found[kind].values())
        assert run["steps"] == steps_for()
        assert len(run["out of noise"]["pictures"]) == len(run["out of noise"]["steps"]) == 6
