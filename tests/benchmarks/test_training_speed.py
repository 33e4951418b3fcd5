"""A step of training of `GPT` against a model written as nanoGPT describes its own."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmbook.gpt import GPT, GPTConfig
from llmbook.training import next_token_loss
from tests.benchmarks.conftest import Compare

SHAPES = {  # vocabulary, width, layers, heads, tokens of a text, texts
    "book": (2048, 96, 2, 4, 64, 16),
    "256 tokens": (512, 128, 4, 4, 256, 4),
    "1,024 tokens": (512, 128, 4, 4, 1024, 2),
}


class Block(nn.Module):
    """Pre-norm, one projection to queries, keys and values, causal attention, exact GELU."""

    def __init__(self, d_model: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.project, self.out = nn.Linear(d_model, 3 * d_model), nn.Linear(d_model, d_model)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Attend, then transform."""
        batch, seq, width = x.shape
        parts = self.project(self.norm1(x)).split(width, dim=2)
        q, k, v = (p.view(batch, seq, self.num_heads, -1).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).contiguous().view(batch, seq, width))
        hidden: Tensor = x + self.down(F.gelu(self.up(self.norm2(x))))
        return hidden


class Other(nn.Module):
    """Embeddings of tokens and positions, the blocks, a norm, and the embedding again."""

    def __init__(self, vocab: int, width: int, layers: int, heads: int, seq: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocab, width), nn.Embedding(seq, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
        self.head.weight = self.tokens.weight
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, token_ids: Tensor, targets: Tensor) -> Tensor:
        """The loss."""
        x: Tensor = self.tokens(token_ids) + self.positions(torch.arange(token_ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.reshape(-1))


@pytest.mark.parametrize("shape", SHAPES)
def test_training_step(shape: str, compare: Compare) -> None:
    """Forward, backward and AdamW, with as many weights and the same activation."""
    vocab, width, layers, heads, seq, batch = SHAPES[shape]
    ours = GPT(
        GPTConfig(
            vocab_size=vocab,
            d_model=width,
            num_layers=layers,
            num_heads=heads,
            max_len=seq,
            activation="gelu",
        )
    )
    theirs = Other(vocab, width, layers, heads, seq)
    counts = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert counts[0] == counts[1]
    mine, yours = (torch.optim.AdamW(m.parameters(), lr=1e-4, fused=True) for m in (ours, theirs))
    token_ids = torch.randint(vocab, (batch, seq + 1))

    def our_step() -> None:
        next_token_loss(ours, token_ids).backward()
        mine.step()
        mine.zero_grad()

    def their_step() -> None:
        theirs(token_ids[:, :-1], token_ids[:, 1:]).backward()
        yours.step()
        yours.zero_grad()

    compare(our_step, their_step, pairs=21)
