"""Ours against PyTorch's own layer, side by side in one run: `pytest --benchmark-enable`."""

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from llmbook.transformer import TransformerBlock

Build = Callable[[nn.TransformerEncoderLayer], nn.Module]
SIDES = pytest.mark.parametrize(
    "build", [TransformerBlock.from_torch, lambda layer: layer], ids=["ours", "torch"]
)


def example(build: Build) -> tuple[nn.Module, torch.Tensor]:
    """The lesson's block, without dropout, which the two apply in different places."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(512, 8, 2048, dropout=0.0, batch_first=True)
    return build(layer), torch.randn(4, 128, 512)


@SIDES
@pytest.mark.benchmark(group="block, inference", warmup=True)
def test_inference(benchmark: BenchmarkFixture, build: Build) -> None:
    """A forward pass without gradients, where PyTorch takes its fused path."""
    block, x = example(build)
    with torch.inference_mode():
        assert benchmark(block.eval(), x).shape == x.shape


@SIDES
@pytest.mark.benchmark(group="block, training", warmup=True)
def test_training_step(benchmark: BenchmarkFixture, build: Build) -> None:
    """Forward and backward."""
    block, x = example(build)
    benchmark(lambda: block(x).sum().backward())
    assert all(parameter.grad is not None for parameter in block.parameters())
