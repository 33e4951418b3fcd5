"""A sparse autoencoder: few directions at a time, and the true ones where they are few."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmbook.autoencoder import SparseAutoencoder, fit, principal, recovered, unexplained
from llmbook.experiments.results import recorded
from llmbook.experiments.superposition import Setup, measure, world


@given(st.integers(1, 8), st.integers(1, 12), st.data())
def test_a_vector_uses_at_most_so_many_directions(d: int, features: int, data: Any) -> None:
    top_k = data.draw(st.integers(1, features))
    torch.manual_seed(0)
    model = SparseAutoencoder(d, features, top_k)
    reconstruction, z = model(torch.randn(5, d))
    assert ((z > 0).sum(-1) <= top_k).all()
    assert (z >= 0).all()
    torch.testing.assert_close(reconstruction, z @ model.decoder + model.bias)
    assert model.encode(torch.zeros(0, d)).shape == (0, features)


def test_orthogonal_features_are_found_all() -> None:
    generator = torch.Generator().manual_seed(0)
    amounts = torch.rand(4_000, 8, generator=generator) * (
        torch.rand(4_000, 8, generator=generator) < 0.15
    )
    torch.manual_seed(1)
    model = SparseAutoencoder(8, 16, 2)
    fit(model, amounts, steps=1_000, generator=generator)
    assert recovered(model.decoder.detach(), torch.eye(8)) == 1
    torch.testing.assert_close(model.decoder.norm(dim=1), torch.ones(16))


def test_frozen_directions_stay_and_only_the_reading_is_learned() -> None:
    torch.manual_seed(0)
    model = SparseAutoencoder(6, 12, 3, frozen=True)
    before = model.decoder.clone()
    vectors = torch.randn(500, 6)
    with torch.no_grad():
        first = unexplained(vectors, model(vectors)[0])
    fit(model, vectors, steps=200, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.decoder, before)
    with torch.no_grad():
        assert unexplained(vectors, model(vectors)[0]) < first


def test_components_are_those_of_the_singular_value_decomposition() -> None:
    torch.manual_seed(0)
    vectors = torch.randn(50, 5, dtype=torch.float64) * torch.tensor([5.0, 3, 2, 1, 0.5]).double()
    mean, axes = principal(vectors, 2)
    theirs = torch.linalg.svd(vectors - vectors.mean(0))[2][:2]
    torch.testing.assert_close((axes @ theirs.T).abs(), torch.eye(2).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(mean, vectors.mean(0))


def test_the_autoencoder_does_not_begin_at_the_worlds_directions() -> None:
    setup = Setup(features=16, d_model=8, vectors=500, steps=1)
    assert measure(setup, 0)["frozen"]["recovered"] < 0.3
    true, vectors = world(setup, 0)
    torch.testing.assert_close(true.norm(dim=1), torch.ones(16))
    assert vectors.shape == (500, 8)


def test_the_record_parts_what_is_explained_from_what_is_recovered() -> None:
    for run in recorded("superposition"):
        few, many = run["4"]["trained"], run["8"]["trained"]
        assert abs(few["explained"] - many["explained"]) < 0.06
        assert few["recovered"] > 0.6
        assert many["recovered"] < 0.1
        longer, wide = run["8"]["longer"], run["8"]["wide"]
        assert longer["recovered"] > 0.7
        assert wide["explained"] > longer["explained"] + 0.1
        assert wide["recovered"] < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: SparseAutoencoder(4, 8, 9), r"top_k must be at most features \(8\), got 9"),
        (lambda: SparseAutoencoder(0, 8, 2), "d_model must be positive, got 0"),
        (lambda: unexplained(torch.ones(3, 2), torch.ones(3, 2)), "vectors must differ"),
        (lambda: principal(torch.ones(3, 2), 3), "count must be from 1 to 2, got 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_nothing_is_learned_from_nothing() -> None:
    with pytest.raises(ValueError, match="vectors must be at least one"):
        fit(SparseAutoencoder(2, 2, 1), torch.empty(0, 2), steps=1, generator=torch.Generator())
