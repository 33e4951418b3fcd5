"""`llmbook.experiments.lenses`: maps from closed forms, texts that are apart, and the record."""

import numpy as np
import pytest
import torch

from llmbook.experiments.lenses import (
    WIDTH,
    articles,
    constant,
    divergences,
    filled,
    least_squares,
    speeches,
    streams,
)
from llmbook.experiments.results import recorded
from llmbook.interpretability import TunedLens, logit_lens
from llmbook.llama import Llama, LlamaConfig
from llmbook.pretrained import smollm2


def tiny() -> Llama:
    """A small decoder with random weights, large enough to say something."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30, d_model=16, num_layers=3, num_heads=2, num_kv_heads=1, d_ff=24, max_len=16
    )
    model = Llama(config).eval()
    model.embedding.weight.data *= 30
    return model


def test_least_squares_finds_an_affine_map_and_leaves_what_is_no_such_map() -> None:
    x, noise = torch.randn(2, 500, 6, generator=torch.Generator().manual_seed(0)).double()
    matrix = torch.arange(36.0).double().view(6, 6) / 36
    found, bias = least_squares(x, x + x @ matrix.T + 2)
    torch.testing.assert_close(found, matrix, atol=1e-3, rtol=0)
    torch.testing.assert_close(bias, torch.full((6,), 2.0).double(), atol=1e-3, rtol=0)
    lstsq = torch.linalg.lstsq(torch.cat((x, torch.ones(500, 1)), 1), noise).solution
    found, bias = least_squares(x, noise)
    torch.testing.assert_close(torch.eye(6) + found, lstsq[:6].T, atol=1e-3, rtol=0)
    torch.testing.assert_close(bias, lstsq[6], atol=1e-3, rtol=0)


def test_a_lens_that_is_filled_with_what_is_missing_on_average_moves_the_mean_there() -> None:
    x, last = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0))
    lens = filled(TunedLens(4, 1), [(0.0, (last - x).mean(0))])
    torch.testing.assert_close(lens(x[None])[0].mean(0), last.mean(0))
    torch.testing.assert_close(lens(x[None])[0] - x, (last - x).mean(0).expand_as(x))


def test_streams_are_those_of_the_logit_lens_and_divergence_does_not_depend_on_the_cut() -> None:
    model = tiny()
    ids = torch.randint(30, (9, 16), generator=torch.Generator().manual_seed(0))
    stream, last = streams(model, ids, (0, 2, 3))
    assert stream.shape == (3, 9 * 15, 16)
    assert torch.equal(stream[-1], last)
    torch.testing.assert_close(
        model.unembed(model.norm(last[None]))[0].view(9, 15, 30)[:, -1], logit_lens(model, ids)[-1]
    )
    lens = TunedLens(16, 3)
    whole = divergences(model, lens, stream, last)
    halves = [divergences(model, lens, stream[:, part], last[part]) for part in (
        slice(0, 60), slice(60, 135),
    )]  # fmt: skip
    mean = (60 * np.array(halves[0]) + 75 * np.array(halves[1])) / 135
    np.testing.assert_allclose(whole, mean, rtol=1e-5, atol=1e-6)
    assert whole[-1] == pytest.approx(0, abs=1e-6)


def test_the_constant_is_the_least_that_one_guess_for_all_tokens_can_reach() -> None:
    model = tiny()
    last = streams(model, torch.randint(30, (20, 16)), (3,))[1]
    least = constant(model, last, last)
    assert 0 < least < np.log(30)
    one = last[:1].expand_as(last).contiguous()  # the guess of one token, for all
    assert divergences(model, TunedLens(16, 1), one[None], last)[0] > least


def test_texts_to_learn_from_and_to_test_on_are_of_other_addresses() -> None:
    learnt, tested = (speeches(20, 0, held_out=held_out) for held_out in (False, True))
    assert learnt.shape == tested.shape == (20, WIDTH + 1)
    assert not {tuple(row) for row in learnt.tolist()} & {tuple(row) for row in tested.tolist()}
    assert torch.equal(learnt, speeches(20, 0, held_out=False))
    assert not torch.equal(learnt, speeches(20, 1, held_out=False))
    assert articles().shape[1] == WIDTH + 1
    assert "human" in smollm2()[1].decode(articles()[0].tolist())


def test_in_the_record_trained_maps_read_more_than_the_output_matrix_alone() -> None:
    for run in recorded("lenses"):
        for text in ("speeches", "articles"):
            logit, tuned = run[text]["logit"], run[text]["tuned"]
            assert all(a < b for a, b in zip(tuned, logit, strict=True))
