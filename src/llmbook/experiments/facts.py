"""How many bits a model knows: facts that can't be guessed, read until nothing more sticks.

A fact is a pair of names and a random value. Nothing follows from anything, so what a model says
better than by guessing, it has stored. Each model gets more facts than it can hold, and reads each
some hundred times.
"""

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.moe import MixtureOfExperts, Routing, balance_loss
from llmbook.quantization import quantize
from llmbook.training import Recipe, evaluating, train
from llmbook.transformer import TransformerBlock

VALUES: Final = 64


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment; the defaults are those of the record.

    Attributes:
        names: From which both names of a pair are.
        d_model: Width of the models.
        d_ff: Width of a feed-forward network, or of an expert.
        layers: Blocks.
        experts: Of the mixture, of which each token passes one.
        balance: Weight of the loss that balances their loads.
        offered: Bits of facts that a model gets for each of its parameters: more than it can hold.
        exposures: How often each fact is read, on average.
        batch: Facts in a step.
        lr: Learning rate.
    """

    names: int = 128
    d_model: int = 16
    d_ff: int = 32
    layers: int = 2
    experts: int = 4
    balance: float | int = 0.01
    offered: float | int = 3.0
    exposures: int = 300
    batch: int = 1024
    lr: float | int = 1.5e-2


class FactModel(nn.Module):
    """A small Transformer that reads two names and says a value.

    Args:
        setup: Its sizes.
        experts: Feed-forward networks in each block, of which a token passes one.
        normalized: See `llmbook.moe.MixtureOfExperts`. The weight of the one expert is then 1, and
            facts teach the router nothing.
    """

    def __init__(self, setup: Setup, experts: int = 1, *, normalized: bool = False) -> None:
        super().__init__()
        d, f = setup.d_model, setup.d_ff
        self.first, self.second = nn.Embedding(setup.names, d), nn.Embedding(setup.names, d)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                d, 2, f, dropout=0.0, norm_first=True, activation="gelu", norm=nn.LayerNorm
            )
            for _ in range(setup.layers)
        )
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, VALUES)
        if experts > 1:
            block: Any
            for block in self.blocks:
                block.feed_forward = MixtureOfExperts(
                    d, f, experts, top_k=1, activation="gelu", bias=True, normalized=normalized
                )

    def forward(self, pairs: Int[Tensor, "batch 2"]) -> Float[Tensor, "batch values"]:
        """Logits of the value, from what stands at the second name."""
        return self.with_routings(pairs)[0]

    def with_routings(
        self, pairs: Int[Tensor, "batch 2"]
    ) -> tuple[Float[Tensor, "batch values"], list[Routing]]:
        """What `forward` gives, and where the tokens went in each block, if there are experts."""
        x = torch.stack((self.first(pairs[:, 0]), self.second(pairs[:, 1])), 1)
        routings = []
        block: Any
        for block in self.blocks:
            x = x + block.attention(block.norm1(x))
            normed, network = block.norm2(x), block.feed_forward
            if isinstance(network, MixtureOfExperts):
                change, routing = network.with_routing(normed)
                routings.append(routing)
            else:
                change = network(normed)
            x = x + change
        logits: Tensor = self.head(self.norm(x[:, 1]))
        return logits, routings


def parameters(model: nn.Module) -> int:
    """How many are stored."""
    return sum(p.numel() for p in model.parameters())


def make_facts(count: int, names: int, seed: int) -> Int[Tensor, "{count} 3"]:
    """Draw facts: two names, which are no pair twice, and a value.

    Args:
        count: How many.
        names: How many names there are, in each of the two places.
        seed: Of both.

    Raises:
        ValueError: If there are not so many pairs.
    """
    if count > names**2:
        raise ValueError(f"{names} names make {names**2} pairs, got count={count}")
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.randperm(names**2, generator=generator)[:count]
    values = torch.randint(VALUES, (count,), generator=generator)
    return torch.stack((pairs // names, pairs % names, values), 1)


@torch.no_grad()
def bits_known(model: nn.Module, facts: Int[Tensor, "count 3"]) -> float:
    r"""Bits of facts that a model has stored: $\sum_i \log_2 V + \log_2 p(\text{value}_i)$.

    A model that guesses among the $V$ values has 0, one that is sure and right $\log_2 V$ a fact.

    Args:
        model: Gives logits of the value for pairs.
        facts: Those that it has read.

    Source:
        [Allen-Zhu and Li 2024][allenzhu2024physics], section 2, for a single token.
    """
    with evaluating(model):
        nats = F.cross_entropy(model(facts[:, :2]), facts[:, 2], reduction="sum").item()
    return len(facts) * math.log2(VALUES) - nats / math.log(2)


def learn(
    setup: Setup, experts: int, seed: int, *, count: int | None = None, normalized: bool = False
) -> tuple[FactModel, Int[Tensor, "count 3"]]:
    """Let a model read more facts than it can hold, as often as the setup says.

    Args:
        setup: All sizes.
        experts: In each block.
        seed: Of the facts, of the weights, and of the order of reading.
        count: How many facts; what the setup offers for the model's parameters, if left out.
        normalized: Of a mixture, see `FactModel`.

    Returns:
        The model, and what it has read.
    """
    torch.manual_seed(seed)
    model = FactModel(setup, experts, normalized=normalized)
    facts = make_facts(facts_for(model, setup) if count is None else count, setup.names, seed)

    def draw(generator: torch.Generator) -> Tensor:
        return facts[torch.randint(len(facts), (setup.batch,), generator=generator)]

    def loss(model: Any, batch: Int[Tensor, "batch 3"]) -> Float[Tensor, ""]:
        logits, routings = model.with_routings(batch[:, :2])
        value = F.cross_entropy(logits, batch[:, 2])
        return value + setup.balance * sum(balance_loss(routing) for routing in routings)

    steps = setup.exposures * len(facts) // setup.batch
    recipe = Recipe(
        steps=steps, lr=setup.lr, warmup=min(100, steps), decay="cosine", weight_decay=0.0
    )
    train(model, draw, recipe, generator=torch.Generator().manual_seed(seed), loss=loss)
    return model, facts


def facts_for(model: nn.Module, setup: Setup) -> int:
    """How many facts a model gets."""
    return int(setup.offered * parameters(model) / math.log2(VALUES))


def rounded(model: FactModel, bits: int, group: int) -> FactModel:
    """A copy whose matrices and tables have gone through few bits.

    Args:
        model: Is not changed. Vectors stay as they are, and what rows do not divide into groups
            shares a scale by row.
        bits: Of a code.
        group: Weights that share a scale.
    """
    other = copy.deepcopy(model)
    with torch.no_grad():
        for weight in other.parameters():
            if weight.ndim > 1:
                together = group if weight.shape[-1] % group == 0 else None
                weight.copy_(quantize(weight, bits, together).dequantize())
    return other


def run(seed: int) -> dict[str, Any]:
    """What is recorded, for a dense model, a mixture, and a dense model as large as the mixture.

    Of the dense one also its bits by how often it reads ("exposures"), and when it reads as many
    facts as the mixture ("more facts"); of the mixture those with a router that facts do not teach
    ("untaught").
    """
    setup = Setup()
    wide = replace(setup, d_ff=setup.d_ff * setup.experts)
    found: dict[str, Any] = {"exposures": {str(n): short(seed, n) for n in (30, 100, 1000)}}
    models = {"dense": (setup, 1), "mixture": (setup, setup.experts), "wide": (wide, 1)}
    for name, (sizes, experts) in models.items():
        start = time.process_time()
        model, facts = learn(sizes, experts, seed)
        found[name] = {
            "seconds": time.process_time() - start,
            "parameters": parameters(model),
            "facts": len(facts),
            "bits": bits_known(model, facts),
            "rounded": {str(b): bits_known(rounded(model, b, 16), facts) for b in (8, 6, 4, 3)},
        }
    many = found["mixture"]["facts"]
    found["more facts"] = bits_known(*learn(setup, 1, seed, count=many))
    found["untaught"] = bits_known(*learn(setup, setup.experts, seed, normalized=True))
    return found


def short(seed: int, exposures: int) -> float:
    """Bits that the dense model knows when it has read each fact so often."""
    return bits_known(*learn(replace(Setup(), exposures=exposures), 1, seed))
