"""`TransformerBlock` against PyTorch's own layer with the same weights."""

import torch
from torch import nn

from llmbook.transformer import TransformerBlock
from tests.benchmarks.conftest import Compare


def layers() -> tuple[TransformerBlock, nn.TransformerEncoderLayer, torch.Tensor]:
    """The lesson's block, without dropout, which the two apply in different places."""
    theirs = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, batch_first=True)
    return TransformerBlock.from_torch(theirs), theirs, torch.randn(4, 128, 512)


def test_block_inference(compare: Compare) -> None:
    """A forward pass without gradients, where PyTorch takes its fused path."""
    ours, theirs, x = layers()
    ours.eval(), theirs.eval()
    with torch.inference_mode():
        compare(lambda: ours(x), lambda: theirs(x))


def test_block_training(compare: Compare) -> None:
    """Forward and backward."""
    ours, theirs, x = layers()
    compare(lambda: ours(x).sum().backward(), lambda: theirs(x).sum().backward())
