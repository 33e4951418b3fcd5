"""`llmbook.vq`: equal to `vector-quantize-pytorch` and to torch's Gumbel-softmax, and what codes are."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from llmbook.vq import DVAE, VQVAE, Autoencoder, Codebook, gumbel_softmax, kmeans
from tests.reference import saved
from tests.reference.vector_quantize import SETTINGS, inputs


def codebook(weight: torch.Tensor) -> Codebook:
    book = Codebook(*weight.shape).to(weight.dtype)
    book.load_state_dict({"weight": weight})
    return book


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_a_codebook_equals_vector_quantize_pytorch(number: int) -> None:
    """Indices, vectors, both losses, and the gradients of each for what learns from it."""
    theirs = {
        key.removeprefix(f"{number}/"): torch.as_tensor(value)
        for key, value in saved("vector_quantize").items()
        if key.startswith(f"{number}/")
    }
    weight, x, upstream = inputs(number)
    book = codebook(weight)
    x = x.requires_grad_()
    found = book(x)
    assert torch.equal(found.indices, theirs["commitment/indices"])
    torch.testing.assert_close(found.vectors, theirs["commitment/vectors"])
    commitment = 0.25 * found.commitment_loss
    torch.testing.assert_close(commitment, theirs["commitment/loss"].squeeze())
    for output, name in (((found.vectors * upstream).sum(), "through"), (commitment, "of_loss")):
        (gradient,) = torch.autograd.grad(output, x, retain_graph=True)
        torch.testing.assert_close(gradient, theirs[f"commitment/{name}"])
    # with a learned codebook theirs is one loss, whose gradient is that of our two together
    both = found.codebook_loss + found.commitment_loss
    torch.testing.assert_close(both / 2, theirs["both/loss"].squeeze())
    for leaf, name in ((x, "of_loss"), (book.weight, "of_codes")):
        (gradient,) = torch.autograd.grad(both, leaf, retain_graph=True)
        torch.testing.assert_close(gradient, theirs[f"both/{name}"])


def test_the_nearest_code_is_taken_and_the_gradient_goes_by() -> None:
    book = codebook(torch.tensor([[0.0, 0.0], [4.0, 0.0]]))
    x = torch.tensor([[1.0, 0.0], [3.0, 1.0], [2.0, 0.0]], requires_grad=True)
    found = book(x)
    assert found.indices.tolist() == [0, 1, 0]
    assert found.vectors.tolist() == [[0, 0], [4, 0], [0, 0]]
    found.vectors.square().sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, 2 * found.vectors.detach())
    assert book.weight.grad is None


@given(seed=st.integers(0, 1_000), codes=st.integers(1, 9), width=st.integers(1, 5))
def test_no_other_code_is_nearer(seed: int, codes: int, width: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    book = codebook(torch.randn(codes, width, generator=generator, dtype=torch.float64))
    x = torch.randn(6, width, generator=generator, dtype=torch.float64)
    distances = torch.cdist(x, book.weight)
    chosen = distances.gather(1, book.nearest(x)[:, None])
    torch.testing.assert_close(chosen[:, 0], distances.amin(1))
    again = book(book(x).vectors)
    assert again.commitment_loss < 1e-20  # codes stand for themselves


def test_kmeans_finds_clusters_that_lie_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    middles = 100 * torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    x = (middles[:, None] + torch.randn(5, 40, 2, generator=generator)).flatten(0, 1)
    means = kmeans(x, 5, generator)
    nearest = torch.cdist(middles, means)
    assert nearest.amin(1).max() < 1
    assert sorted(nearest.argmin(1).tolist()) == [0, 1, 2, 3, 4]
    expected = x.unflatten(0, (5, 40)).mean(1)
    torch.testing.assert_close(means[nearest.argmin(1)], expected)


def test_kmeans_has_a_mean_for_each_vector_or_the_same_twice() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.tensor([[1.0], [2.0], [5.0]])
    assert kmeans(x, 3, generator).sort(0).values.tolist() == x.tolist()
    assert kmeans(torch.ones(4, 1), 3, generator).tolist() == [[1.0]] * 3


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [1, 0.3, 4.0])
def test_gumbel_softmax_equals_torch(temperature: float, hard: bool) -> None:
    logits = torch.randn(7, 9, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(7, 9, dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    ours = gumbel_softmax(logits, temperature, hard=hard, generator=generator)
    torch.manual_seed(5)
    theirs = F.gumbel_softmax(logits, temperature, hard=hard)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad((out * upstream).sum(), logits)[0] for out in (ours, theirs))
    )


def test_gumbel_draws_are_those_of_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(20_000, 3)
    drawn = gumbel_softmax(logits, hard=True, generator=torch.Generator().manual_seed(0))
    assert drawn.unique().tolist() == [0, 1]
    torch.testing.assert_close(drawn.mean(0), logits[0].softmax(0), atol=0.015, rtol=0)


@pytest.mark.parametrize("kind", [VQVAE, DVAE])
def test_codes_of_a_picture_are_drawn_as_the_model_draws_it(kind: type) -> None:
    torch.manual_seed(0)
    model = kind(num_codes=10).eval()
    images = torch.rand(3, 3, 24, 16)
    found = model(images)
    assert found.codes.shape == (3, 6, 4)
    assert torch.equal(found.codes, model.encode(images))
    torch.testing.assert_close(found.images, model.decode(found.codes))


def test_all_parts_learn() -> None:
    for model in (VQVAE(5), DVAE(5, kl_weight=0.1)):
        found = model(torch.rand(4, 3, 8, 8))
        (found.images.square().mean() + found.loss).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_divergence_from_uniform_is_nothing_for_uniform_and_the_logarithm_for_one_code() -> (
    None
):
    model = DVAE(4, kl_weight=1)
    for bias, expected in ((0.0, 0.0), (1e3, 4.0)):
        last = model.autoencoder.down[-1]
        assert isinstance(last, torch.nn.Conv2d)
        assert last.bias is not None
        with torch.no_grad():
            last.weight.zero_()
            last.bias.copy_(bias * torch.eye(4)[0])
        loss = model(torch.rand(1, 3, 8, 8)).loss
        torch.testing.assert_close(loss, torch.tensor(max(expected, 1.0)).log())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_through(dtype: torch.dtype) -> None:
    found = codebook(torch.eye(4, dtype=dtype))(torch.eye(4, dtype=dtype))
    assert found.vectors.dtype == dtype
    assert found.indices.tolist() == [0, 1, 2, 3]


@pytest.mark.plain
def test_wrong_input_is_named() -> None:
    generator = torch.Generator()
    with pytest.raises(ValueError, match="num_codes must be positive, got 0"):
        Codebook(0, 4)
    with pytest.raises(ValueError, match=r"x must have vectors of width 4, got shape \(2, 3\)"):
        Codebook(2, 4)(torch.ones(2, 3))
    with pytest.raises(ValueError, match="k must be from 1 to the number of vectors, 3, got 4"):
        kmeans(torch.ones(3, 2), 4, generator)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        gumbel_softmax(torch.ones(3), 0)
    with pytest.raises(ValueError, match=r"with sides that 4 divides, got \(1, 3, 6, 8\)"):
        Autoencoder(4, 4).encode(torch.ones(1, 3, 6, 8))
    for name in ("width", "d_latent", "d_decoded"):
        with pytest.raises(ValueError, match=f"{name} must be positive, got -1"):
            Autoencoder(**{"width": 4, "d_latent": 4, "d_decoded": 4} | {name: -1})
