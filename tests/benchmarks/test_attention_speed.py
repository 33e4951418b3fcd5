"""`MultiHeadAttention` against PyTorch's own layer with the same weights."""

import pytest
import torch
from torch import nn

from llmbook.attention import MultiHeadAttention
from tests.benchmarks.conftest import Compare

SIZES = pytest.mark.parametrize(("d_model", "heads", "seq"), [(512, 8, 128), (256, 4, 64)])


@SIZES
def test_attention_forward(compare: Compare, d_model: int, heads: int, seq: int) -> None:
    """PyTorch is asked for no weights, which is its fast way."""
    theirs = nn.MultiheadAttention(d_model, heads, batch_first=True)
    ours, x = MultiHeadAttention.from_torch(theirs), torch.randn(4, seq, d_model)
    with torch.no_grad():
        compare(lambda: ours(x), lambda: theirs(x, x, x, need_weights=False))


@SIZES
def test_attention_training(compare: Compare, d_model: int, heads: int, seq: int) -> None:
    """Forward and backward."""
    theirs = nn.MultiheadAttention(d_model, heads, batch_first=True)
    ours, x = MultiHeadAttention.from_torch(theirs), torch.randn(4, seq, d_model)
    compare(
        lambda: ours(x).sum().backward(),
        lambda: theirs(x, x, x, need_weights=False)[0].sum().backward(),
    )
