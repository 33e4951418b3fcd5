"""A mixture of experts: many feed-forward networks, of which each token passes a few."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.layers import FeedForward
from llmbook.sizes import number, whole
from llmbook.weights import build_model, copied


class Routing(NamedTuple):
    """Which experts the tokens go to.

    Attributes:
        probs: How a token's probability is shared among all experts.
        experts: The chosen ones, the likeliest first.
        weights: Of the chosen ones' outputs; where they are normalized, they sum to 1.
    """

    probs: Float[Tensor, "tokens experts"]
    experts: Int[Tensor, "tokens top_k"]
    weights: Float[Tensor, "tokens top_k"]


class MixtureOfExperts(nn.Module):
    r"""Send each token through the few feed-forward networks that a router finds fittest.

    $$y = \sum_{i \in T} \frac{p_i}{\sum_{j \in T} p_j} \, E_i(x), \qquad
      p = \mathrm{softmax}(W_r x)$$

    with $T$ the `top_k` experts of the largest $p_i + b_i$. The offsets $b$ are not trained by the
    loss, and zero unless `rebalance` moves them: balancing without a loss.

    Args:
        d_model: Width of what comes in and goes out.
        d_ff: Width of each expert's hidden layer.
        num_experts: How many are stored.
        top_k: How many a token passes.
        activation: Of the experts; see `llmbook.layers.FeedForward`.
        bias: Biases in the experts' matrices.
        normalized: Divide the weights of the chosen by their sum, as Mixtral does. With one expert
            for a token the weight is then 1 whatever the router says, and the router learns nothing
            from what the expert gives; else the weight is the probability $p_i$, as in Switch.
        capacity: The most tokens that an expert takes of a batch, as a multiple of its equal share
            `tokens · top_k / num_experts`. Tokens that come later in the batch find it full, and
            get nothing from it. Without one, no token is dropped.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive, or `top_k` is more than there are experts.

    Examples:
        >>> layer = MixtureOfExperts(d_model=16, d_ff=32, num_experts=8, top_k=2)
        >>> layer(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])

    Source:
        Routing as in Mixtral: [Jiang et al. 2024][jiang2024mixtral], section 2.1; capacity:
        [Fedus et al. 2022][fedus2022switch], section 2.2; offsets:
        [Wang et al. 2024][wang2024auxiliary], section 3.
    """

    offsets: Tensor

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        num_experts: int,
        top_k: int,
        *,
        activation: str = "swiglu",
        bias: bool = False,
        normalized: bool = True,
        capacity: float | int | None = None,
    ) -> None:
        super().__init__()
        num_experts, top_k = whole("num_experts", num_experts), whole("top_k", top_k)
        if num_experts < 1:
            raise ValueError(f"num_experts must be at least 1, got {num_experts}")
        if not 1 <= top_k <= num_experts:
            raise ValueError(f"top_k must be from 1 to num_experts = {num_experts}, got {top_k}")
        if capacity is not None and not number("capacity", capacity) > 0:
            raise ValueError(f"capacity must be positive, got {capacity}")
        self.top_k, self.normalized, self.capacity = top_k, normalized, capacity
        self.experts = nn.ModuleList(
            FeedForward(d_model, d_ff, activation, bias) for _ in range(num_experts)
        )
        self.router = nn.Linear(d_model, num_experts, bias=False)
        self.register_buffer("offsets", torch.zeros(num_experts), persistent=False)

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Transform each position by its own experts."""
        return self.with_routing(x)[0]

    def with_routing(
        self, x: Float[Tensor, "*batch d_model"]
    ) -> tuple[Float[Tensor, "*batch d_model"], Routing]:
        """What `forward` gives, and where the tokens went, for `balance_loss` and `rebalance`."""
        tokens, routing = x.flatten(0, -2), self.route(x)
        y = torch.zeros_like(tokens)
        room = self._room(len(tokens))
        for i, expert in enumerate(self.experts):
            token, place = torch.where(routing.experts == i)
            token, place = token[:room], place[:room]
            if len(token) or torch.is_grad_enabled():  # so that idle experts have gradients of 0
                mixed = expert(tokens[token]) * routing.weights[token, place, None]
                y = y.index_add(0, token, mixed.to(y.dtype))
        return y.view(x.shape), routing

    def route(self, x: Float[Tensor, "*batch d_model"]) -> Routing:
        """Choose each token's experts.

        Args:
            x: One vector for each token.

        Returns:
            Probabilities, in float32 whatever the tokens are, as in Mixtral; the chosen experts,
            and the weights of what they give.
        """
        logits = self.router(x.flatten(0, -2))
        probs = F.softmax(logits, -1, dtype=torch.float32)
        experts = (probs + self.offsets).topk(self.top_k, -1).indices
        weights = probs.gather(-1, experts)
        if self.normalized:
            weights = weights / weights.sum(-1, keepdim=True)
        return Routing(probs, experts, weights)

    @torch.no_grad()
    def rebalance(self, experts: Int[Tensor, "tokens top_k"], rate: float | int = 1e-3) -> None:
        r"""Make experts with more than their share a little less likely, and others more.

        $$b_i \leftarrow b_i + \rho \, \mathrm{sign}(\bar c - c_i)$$

        for $c_i$ tokens of the expert $i$ and their mean $\bar c$.

        Args:
            experts: Those that a batch has gone to.
            rate: $\rho$.

        Source:
            [Wang et al. 2024][wang2024auxiliary], algorithm 1.
        """
        counts = load(experts, len(self.experts)).to(self.offsets)
        self.offsets += rate * (counts.mean() - counts).sign()

    def _room(self, tokens: int) -> int:
        if self.capacity is None:
            return tokens
        return int(self.capacity * tokens * self.top_k / len(self.experts) + 1e-9)

    @classmethod
    def from_hf(cls, block: nn.Module) -> "MixtureOfExperts":
        """Copy a block of a Mixtral of transformers; the two then give the same.

        Args:
            block: A `MixtralSparseMoeBlock` of transformers 5.

        Raises:
            TypeError: If it is none.
            ValueError: If its activation is not SiLU, or it shakes its inputs in training.
        """
        from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

        if not isinstance(block, MixtralSparseMoeBlock):
            raise TypeError(f"need a MixtralSparseMoeBlock, got {type(block).__name__}")
        theirs: Any = block.experts
        if (activation := type(theirs.act_fn).__name__) not in ("SiLU", "SiLUActivation"):
            raise ValueError(f"the experts' activation must be SiLU, got {activation}")
        if block.jitter_noise:
            raise ValueError(f"router_jitter_noise must be 0, got {block.jitter_noise}")
        experts, twice, d_model = theirs.gate_up_proj.shape
        weights = {"router.weight": block.gate.weight}
        for i in range(experts):
            gate, up = theirs.gate_up_proj[i].chunk(2)
            parts = {"gate": gate, "up": up, "down": theirs.down_proj[i]}
            weights |= {f"experts.{i}.{part}.weight": w for part, w in parts.items()}
        model = build_model(
            lambda: cls(d_model, twice // 2, experts, block.top_k),
            weights,
            lambda name: name,
            lambda _, weight: copied(weight),
        )
        model.offsets = torch.zeros(experts, device=block.gate.weight.device)
        return model.train(block.training)


def load(experts: Int[Tensor, "tokens top_k"], num_experts: int) -> Int[Tensor, " {num_experts}"]:
    """How many tokens go to each expert.

    Args:
        experts: Those that were chosen.
        num_experts: How many there are.

    Examples:
        >>> load(torch.tensor([[0, 2], [2, 0], [2, 1]]), 4)
        tensor([2, 1, 3, 0])
    """
    return torch.bincount(experts.flatten(), minlength=num_experts)


def balance_loss(routing: Routing) -> Float[Tensor, ""]:
    r"""Grows as tokens crowd on few experts; added to a model's loss in small measure.

    $$L = n \sum_i f_i P_i$$

    with $f_i$ the share of tokens that have the expert $i$ among their `top_k`, and $P_i$ its mean
    probability, which alone has a gradient. Even loads have $L = k$ for the `top_k` $k$, though
    that is not the least; all probability on one expert has $n$.

    Args:
        routing: Of a batch, as `MixtureOfExperts.route` gives it.

    Raises:
        ValueError: If there is no token.

    Examples:
        >>> even = torch.full((4, 2), 0.5)
        >>> balance_loss(Routing(even, torch.tensor([[0], [1], [0], [1]]), torch.ones(4, 1)))
        tensor(1.)

    Source:
        [Fedus et al. 2022][fedus2022switch], equations 4 to 6, for one expert a token.
    """
    tokens, experts = routing.probs.shape
    if not tokens:
        raise ValueError("balance_loss needs at least one token, got none")
    shares = load(routing.experts, experts).to(routing.probs) / tokens
    return experts * (shares * routing.probs.mean(0)).sum()
