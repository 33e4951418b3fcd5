"""`llmbook.muon` against torch's, and by singular values."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.muon import Muon, orthogonalise


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 5), st.floats(1e-3, 1e3))
def test_orthogonalise_keeps_directions_and_forgets_lengths(
    rows: int, columns: int, seed: int, scale: float
) -> None:
    """It is U f(S) V, where f brings what is not small near 1."""
    generator = torch.Generator().manual_seed(seed)
    matrix = scale * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    values = u.T @ orthogonalise(matrix) @ vh.T
    torch.testing.assert_close(values, values.diag().diag(), rtol=0, atol=1e-6)
    large = s / s.norm() > 0.02
    assert ((values.diag() > 0.6) & (values.diag() < 1.25))[large].all()


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4)])
def test_muon_equals_torchs(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """With their bfloat16 lifted; momentum, scale and decay included."""
    theirs_kind = getattr(torch.optim, "Muon", None)
    if theirs_kind is None:
        pytest.skip("this version of PyTorch has no Muon")
    monkeypatch.setattr(Tensor, "bfloat16", lambda self: self.clone())
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=generator, dtype=torch.float64)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    optimisers = [
        Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.2),
        theirs_kind([theirs], lr=0.1, momentum=0.9, weight_decay=0.2),
    ]
    for _ in range(4):
        ours.grad = torch.randn(shape, generator=generator, dtype=torch.float64)
        theirs.grad = ours.grad.clone()
        for optimiser in optimisers:
            optimiser.step()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_what_is_no_matrix_is_refused_when_muon_is_made(shape: tuple[int, ...]) -> None:
    """Beside matrices, in a group, and in one that is added later."""
    matrix, other = nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(shape))
    for params in ([matrix, other], [{"params": [matrix]}, {"params": [other], "lr": 0.1}]):
        with pytest.raises(ValueError, match=r"Muon moves matrices alone, got the shape \("):
            Muon(params)
    muon = Muon([matrix])
    with pytest.raises(ValueError, match="matrices alone"):
        muon.add_param_group({"params": [other]})
    muon.step()
    assert len(muon.param_groups) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 3e4])
def test_sixteen_bits_are_orthogonalised_like_more(dtype: torch.dtype, scale: float) -> None:
    """The norm of large numbers is beyond float16, and that of small ones near its end."""
    matrix = (scale * torch.eye(6) + scale / 9).to(dtype)
    expected = orthogonalise(matrix.double())
    torch.testing.assert_close(orthogonalise(matrix).double(), expected, rtol=0.02, atol=0.02)
