"""Recurrent networks: one step after the other, with a state that carries what came before."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from llmbook.layers import copied_linear
from llmbook.sizes import whole

State = Float[Tensor, "layers batch d_hidden"]
NONLINEARITIES = {"tanh": torch.tanh, "relu": torch.relu}


class _Recurrent(nn.Module):
    """Layers that take one `step` after the other, each over the outputs of the layer below."""

    blocks: int  # of d_hidden numbers that input and state are projected to
    parts: int  # of d_hidden numbers that make a state

    def __init__(self, d_input: int, d_hidden: int, num_layers: int, dropout: float | int) -> None:
        super().__init__()
        d_input, d_hidden = whole("d_input", d_input), whole("d_hidden", d_hidden)
        num_layers = whole("num_layers", num_layers)
        if min(d_input, d_hidden, num_layers) <= 0:
            raise ValueError(
                "d_input, d_hidden and num_layers must be positive, "
                f"got {d_input}, {d_hidden} and {num_layers}"
            )
        self.d_input, self.d_hidden, self.num_layers = d_input, d_hidden, num_layers
        widths = [d_input] + [d_hidden] * (num_layers - 1)
        self.input = nn.ModuleList(nn.Linear(d, self.blocks * d_hidden) for d in widths)
        self.recurrent = nn.ModuleList(nn.Linear(d_hidden, self.blocks * d_hidden) for _ in widths)
        self.dropout = nn.Dropout(dropout)
        bound = 1 / math.sqrt(d_hidden)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)  # as PyTorch's recurrent layers

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        raise NotImplementedError

    def run(self, x: Tensor, start: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        if x.ndim != 3 or x.shape[-1] != self.d_input or not x.shape[1]:
            raise ValueError(
                f"x must have the shape (batch, seq, d_input = {self.d_input}) and at least one "
                f"position, got shape {tuple(x.shape)}"
            )
        shape = (self.num_layers, len(x), self.d_hidden)
        start = (x.new_zeros(shape),) * self.parts if start is None else start
        if [part.shape for part in start] != [shape] * self.parts:
            raise ValueError(
                f"state must have the shape (layers, batch, d_hidden) = {shape}, "
                f"got {', '.join(str(tuple(part.shape)) for part in start)}"
            )
        last = []
        for layer, (linear, recurrent) in enumerate(zip(self.input, self.recurrent, strict=True)):
            state = tuple(part[layer] for part in start)
            outputs = []
            for from_input in linear(x).unbind(dim=1):  # all steps at once, then one by one
                state = self.step(from_input + recurrent(state[0]), state)
                outputs.append(state[0])
            x = torch.stack(outputs, dim=1)
            x = self.dropout(x) if layer < self.num_layers - 1 else x
            last.append(state)
        return x, tuple(torch.stack(parts) for parts in zip(*last, strict=True))


class RNN(_Recurrent):
    r"""The plain recurrent network: the new state is made of the input and the state before.

    $$h_t = \tanh(W x_t + b + U h_{t-1} + c)$$

    Args:
        d_input: Width of what comes in.
        d_hidden: Width of the state $h$, which is also what goes out.
        num_layers: Layers, each reading the states of the one below.
        nonlinearity: "tanh", or "relu".
        dropout: Probability of zeroing a number between two layers while training.

    Raises:
        ValueError: If a size is not positive, or `nonlinearity` is neither of the two.

    Examples:
        >>> layer = RNN(d_input=8, d_hidden=16, num_layers=2)
        >>> output, state = layer(torch.randn(3, 5, 8))
        >>> output.shape, state.shape
        (torch.Size([3, 5, 16]), torch.Size([2, 3, 16]))

    Source:
        [Elman 1990][elman1990finding].
    """

    blocks = parts = 1

    def __init__(
        self,
        d_input: int,
        d_hidden: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        dropout: float | int = 0.0,
    ) -> None:
        super().__init__(d_input, d_hidden, num_layers, dropout)
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        self.nonlinearity = NONLINEARITIES[nonlinearity]

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Give the state after one more position: input and state, projected and added up."""
        return (self.nonlinearity(projected),)

    def forward(
        self, x: Float[Tensor, "batch seq d_input"], state: State | None = None
    ) -> tuple[Float[Tensor, "batch seq d_hidden"], State]:
        """Read the positions one after the other.

        Args:
            x: One vector per position, batch first.
            state: What each layer starts from; zeros if left out.

        Returns:
            The last layer's state at every position, and every layer's at the last position.

        Raises:
            ValueError: If a shape does not fit, or there is no position.
        """
        output, (hidden,) = self.run(x, None if state is None else (state,))
        return output, hidden

    @classmethod
    def from_torch(cls, layer: nn.RNN) -> "RNN":
        """Copy the weights of PyTorch's own layer; the two are then equal.

        Device, dtype, dropout rate and training mode come along, absent biases come in as zeros.
        Ours stays batch-first whatever `layer.batch_first` says.

        Raises:
            TypeError: If `layer` is no `nn.RNN`.
            ValueError: If it is bidirectional.
        """
        ours = _copied(cls, nn.RNN, layer)
        ours.nonlinearity = NONLINEARITIES[layer.nonlinearity]
        return ours


class LSTM(_Recurrent):
    r"""Long short-term memory: beside the state, a cell which gates protect from each step.

    $$\begin{aligned}
      (i, f, o) &= \sigma(W x_t + b + U h_{t-1} + c), \qquad
      g = \tanh(W_g x_t + b_g + U_g h_{t-1} + c_g) \\
      c_t &= f \odot c_{t-1} + i \odot g, \qquad h_t = o \odot \tanh(c_t)
    \end{aligned}$$

    Args:
        d_input: Width of what comes in.
        d_hidden: Width of the state $h$ and of the cell $c$.
        num_layers: Layers, each reading the states of the one below.
        dropout: Probability of zeroing a number between two layers while training.
        forget_bias: What the forget gate's two biases sum to at first, exactly; a large one starts
            with a gate that keeps. At 0 both stay as PyTorch draws them, small and around zero.

    Raises:
        ValueError: If a size is not positive.

    Examples:
        >>> layer = LSTM(d_input=8, d_hidden=16, forget_bias=1.0)
        >>> output, (hidden, cell) = layer(torch.randn(3, 5, 8))
        >>> torch.equal(output[:, -1], hidden[-1])
        True

    Source:
        [Hochreiter and Schmidhuber 1997][hochreiter1997long]; the forget gate:
        [Gers et al. 2000][gers2000learning]; its bias:
        [Jozefowicz et al. 2015][jozefowicz2015empirical].
    """

    blocks, parts = 4, 2

    def __init__(
        self,
        d_input: int,
        d_hidden: int,
        num_layers: int = 1,
        *,
        dropout: float | int = 0.0,
        forget_bias: float | int = 0.0,
    ) -> None:
        super().__init__(d_input, d_hidden, num_layers, dropout)
        if forget_bias:
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):  # there are two, of which one has to say it
                    share = forget_bias if name.startswith("input") else 0.0
                    parameter.detach()[self.d_hidden : 2 * self.d_hidden] = share

    def step(self, projected: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Give state and cell after one more position; four blocks lie in PyTorch's order."""
        i, f, g, o = projected.chunk(4, dim=-1)
        cell = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
        return o.sigmoid() * cell.tanh(), cell

    def forward(
        self, x: Float[Tensor, "batch seq d_input"], state: tuple[State, State] | None = None
    ) -> tuple[Float[Tensor, "batch seq d_hidden"], tuple[State, State]]:
        """Read the positions one after the other.

        Args:
            x: One vector per position, batch first.
            state: The states and the cells that each layer starts from; zeros if left out.

        Returns:
            The last layer's state at every position; every layer's state and cell at the last.

        Raises:
            ValueError: If a shape does not fit, or there is no position.
        """
        output, (hidden, cell) = self.run(x, state)
        return output, (hidden, cell)

    @classmethod
    def from_torch(cls, layer: nn.LSTM) -> "LSTM":
        """Copy the weights of PyTorch's own layer; the two are then equal.

        As for `RNN.from_torch`.

        Raises:
            TypeError: If `layer` is no `nn.LSTM`.
            ValueError: If it is bidirectional or has `proj_size`.
        """
        return _copied(cls, nn.LSTM, layer)


_R = TypeVar("_R", bound=_Recurrent)


def _copied(make: type[_R], kind: type[nn.RNNBase], layer: nn.RNNBase) -> _R:
    if not isinstance(layer, kind):
        raise TypeError(f"need an nn.{kind.__name__}, got {type(layer).__name__}")
    if layer.bidirectional or layer.proj_size:
        raise ValueError(
            "bidirectional must be False and proj_size 0, "
            f"got bidirectional={layer.bidirectional} and proj_size={layer.proj_size}"
        )
    sizes = layer.input_size, layer.hidden_size, layer.num_layers
    with torch.device("meta"):  # no memory, and no random numbers drawn, for what we replace
        ours = make(*sizes, dropout=layer.dropout)
    weights = layer.state_dict()
    for linears, name in ((ours.input, "ih"), (ours.recurrent, "hh")):
        for k in range(layer.num_layers):
            weight = weights[f"weight_{name}_l{k}"]
            bias = weights.get(f"bias_{name}_l{k}", weight.new_zeros(len(weight)))
            linears[k] = copied_linear(weight, bias)
    return ours.train(layer.training)


def gradient_reach(
    layer: Callable[[Tensor], Any],
    x: Float[Tensor, "batch seq d_input"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, " seq"]:
    r"""How strongly the last output depends on the input at each distance back.

    $$r_k = \left\lVert \frac{\partial\, v^\top y_T}{\partial x_{T-k}} \right\rVert, \qquad
      v \sim \mathcal{N}(0, I)$$

    The mean of $r_k^2$ over many $v$ is the squared norm of all derivatives of $y_T$.

    Args:
        layer: Maps `x` to one vector per position, or to a tuple of which that is the first item.
        x: Inputs, with the dtype of the layer: float64, as small gradients vanish in float32.
        generator: Where $v$ comes from, on the device of `x`.

    Returns:
        $r_0, r_1, \dots$, averaged over the batch. No parameter's `grad` is touched.

    Raises:
        ValueError: If `layer` does not give one vector per position.

    Examples:
        >>> reach = gradient_reach(RNN(4, 16).double(), torch.randn(2, 9, 4, dtype=torch.float64))
        >>> reach.shape
        torch.Size([9])

    Source:
        [Bengio et al. 1994][bengio1994learning].
    """
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        output = layer(x)
        output = output[0] if isinstance(output, tuple) else output
        if output.ndim != 3 or output.shape[:2] != x.shape[:2]:
            raise ValueError(
                f"layer must give the shape (batch, seq, d) = {(*x.shape[:2], 'd')}, "
                f"got {tuple(output.shape)}"
            )
        last = output[:, -1]
    direction = torch.randn(last.shape, generator=generator, dtype=last.dtype, device=last.device)
    (gradient,) = torch.autograd.grad(last, x, direction)
    reach: Tensor = gradient.norm(dim=-1).mean(dim=0).flip(0)
    return reach
