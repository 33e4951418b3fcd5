"""`llmbook.rnn` against PyTorch's own layers, by what each output may see, and by Jacobians."""

import copy
import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.attention import MultiHeadAttention, causal_mask
from llmbook.rnn import LSTM, RNN, gradient_reach

BATCH, SEQ, D_INPUT, D_HIDDEN = 3, 7, 5, 6
Ours = RNN | LSTM
# Ours, theirs, and what makes it.
KINDS: dict[str, tuple[type[Ours], type[nn.RNN] | type[nn.LSTM], dict[str, Any]]] = {
    "tanh": (RNN, nn.RNN, {"nonlinearity": "tanh"}),
    "relu": (RNN, nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, nn.LSTM, {}),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each recurrence."""
    return str(request.param)


def theirs(kind: str, num_layers: int = 1, **options: Any) -> nn.RNNBase:
    """PyTorch's layer in float64, batch-first."""
    torch.manual_seed(0)
    _, make, more = KINDS[kind]
    options = {"batch_first": True, "dtype": torch.float64, **more, **options}
    return make(D_INPUT, D_HIDDEN, num_layers, **options)


def ours(layer: nn.RNNBase) -> Ours:
    """Ours with their weights."""
    if isinstance(layer, nn.LSTM):
        return LSTM.from_torch(layer)
    assert isinstance(layer, nn.RNN)
    return RNN.from_torch(layer)


def normal(*shape: int, seed: int = 1) -> Tensor:
    """Standard normal float64 numbers that want a gradient."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def flat(result: tuple[Tensor, Any]) -> list[Tensor]:
    """Output and states in one list."""
    output, state = result
    return [output, *(state if isinstance(state, tuple) else (state,))]


def assert_equal(
    layer: nn.RNNBase, batch: int = BATCH, seq: int = SEQ, with_state: bool = True
) -> None:
    """Outputs, last states, and the gradients of input, first states and all weights agree."""
    mine, x = ours(layer), normal(batch, seq, layer.input_size)
    count = 2 if isinstance(layer, nn.LSTM) else 1
    shape = (layer.num_layers, batch, layer.hidden_size)
    start = tuple(normal(*shape, seed=2 + i) for i in range(count)) if with_state else ()
    state = (start if count == 2 else start[0]) if with_state else None
    my_results = flat(mine(x, state))
    their_results = flat(layer(x if layer.batch_first else x.transpose(0, 1), state))
    if not layer.batch_first:
        their_results[0] = their_results[0].transpose(0, 1)
    torch.testing.assert_close(my_results, their_results, rtol=0, atol=1e-12)

    my_loss, their_loss = (
        torch.stack([(y.square() * (i + 1)).sum() + y.sum() for i, y in enumerate(results)]).sum()
        for results in (my_results, their_results)
    )
    leaves = (x, *start)
    my_gradients = torch.autograd.grad(my_loss, (*leaves, *mine.parameters()))
    their_gradients = torch.autograd.grad(their_loss, (*leaves, *layer.parameters()))
    carrier = copy.deepcopy(layer)  # takes their gradients to our names, as if they were weights
    with torch.no_grad():
        for parameter, gradient in zip(
            carrier.parameters(), their_gradients[len(leaves) :], strict=True
        ):
            parameter.copy_(gradient)
    carried = ours(carrier)
    expected = {name: value.detach() for name, value in carried.named_parameters()}
    names = [name for name, _ in mine.named_parameters()]
    for name, gradient in zip(names, my_gradients[len(leaves) :], strict=True):
        if layer.bias or not name.endswith("bias"):
            torch.testing.assert_close(gradient, expected[name], rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(
        my_gradients[: len(leaves)], their_gradients[: len(leaves)], rtol=1e-10, atol=1e-11
    )


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("with_state", [True, False])
def test_recurrence_equals_torch(
    kind: str, num_layers: int, bias: bool, batch_first: bool, with_state: bool
) -> None:
    """With the same weights, ours is PyTorch's layer, forward and backward."""
    layer = theirs(kind, num_layers, bias=bias, batch_first=batch_first)
    assert_equal(layer, with_state=with_state)


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3)),
    batch=st.integers(1, 4),
    seq=st.integers(1, 12),
)
def test_every_size_equals_torch(
    kind: str, sizes: tuple[int, int, int], batch: int, seq: int
) -> None:
    """Nothing depends on the sizes that the other tests happen to have."""
    _, make, options = KINDS[kind]
    torch.manual_seed(0)
    layer = make(*sizes, batch_first=True, dtype=torch.float64, **options)
    assert_equal(layer, batch, seq)


def test_a_state_carries_on_where_the_last_call_stopped(kind: str) -> None:
    """A sequence in two parts gives what it gives in one."""
    layer, x = ours(theirs(kind, 2)), normal(BATCH, SEQ, D_INPUT)
    whole = flat(layer(x))
    first, state = layer(x[:, :3])
    second = flat(layer(x[:, 3:], state))
    torch.testing.assert_close([torch.cat((first, second[0]), dim=1), *second[1:]], whole)


def test_dropout_acts_between_layers_in_training_alone(kind: str) -> None:
    """At rate 1 the upper layer reads zeros; evaluation, and a single layer, know no dropout."""
    layer, x = theirs(kind, 2, dropout=1.0), normal(BATCH, SEQ, D_INPUT)
    torch.testing.assert_close(flat(ours(layer)(x)), flat(layer(x)))
    assert_equal(layer.eval())
    make, _, options = KINDS[kind]
    single = make(D_INPUT, D_HIDDEN, dropout=1.0, **options).double()
    assert torch.equal(single(x)[0], single.eval()(x)[0])


def test_half_the_numbers_between_layers_are_dropped(kind: str) -> None:
    """Two calls differ while training, and agree in eval mode."""
    layer, x = ours(theirs(kind, 2, dropout=0.5)), normal(BATCH, SEQ, D_INPUT)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_from_torch_keeps_the_layers_state(kind: str, dtype: torch.dtype, training: bool) -> None:
    """Dtype, device, dropout rate and training mode come along; nothing is shared or drawn."""
    layer = theirs(kind, 2, dtype=dtype, dropout=0.3).train(training)
    state = torch.get_rng_state()
    mine = ours(layer)
    assert torch.equal(torch.get_rng_state(), state)
    assert {parameter.dtype for parameter in mine.parameters()} == {dtype}
    assert all(parameter.requires_grad for parameter in mine.parameters())
    assert all(module.training is training for module in mine.modules())
    assert mine.dropout.p == 0.3
    counts = [sum(p.numel() for p in some.parameters()) for some in (mine, layer)]
    assert counts[0] == counts[1]
    storages = [
        {parameter.untyped_storage().data_ptr() for parameter in some.parameters()}
        for some in (mine, layer)
    ]
    assert storages[0].isdisjoint(storages[1])
    assert {p.device.type for p in ours(layer.to("meta")).parameters()} == {"meta"}


@pytest.mark.parametrize("forget_bias", [1.0, -2, 3.0])
def test_forget_bias_is_exactly_what_was_asked_for(forget_bias: float) -> None:
    """In every layer; all other numbers are those that are drawn without it."""
    torch.manual_seed(0)
    plain = LSTM(D_INPUT, D_HIDDEN, 2)
    torch.manual_seed(0)
    layer = LSTM(D_INPUT, D_HIDDEN, 2, forget_bias=forget_bias)
    forget = slice(D_HIDDEN, 2 * D_HIDDEN)
    for one, other in zip(layer.input, layer.recurrent, strict=True):
        bias = one.get_parameter("bias") + other.get_parameter("bias")
        assert (bias[forget] == forget_bias).all()
    for (name, weight), expected in zip(layer.named_parameters(), plain.parameters(), strict=True):
        keep = torch.ones(len(weight), dtype=torch.bool)
        if name.endswith("bias"):
            keep[forget] = False
        assert torch.equal(weight[keep], expected[keep])


def test_a_forget_bias_is_how_much_of_the_cell_is_kept() -> None:
    """With all other weights zero, a step leaves sigmoid(b) of it."""
    layer = LSTM(1, 1, forget_bias=3.0).double()
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if not name.startswith("input.0.bias"):
                parameter.zero_()
            else:
                parameter[[0, 2, 3]] = 0.0
    cell = torch.ones(1, 1, 1, dtype=torch.float64)
    _, (_, after) = layer(torch.zeros(1, 4, 1, dtype=torch.float64), (0 * cell, cell))
    assert after.item() == pytest.approx((1 / (1 + math.exp(-3))) ** 4)


def test_fresh_weights_are_drawn_as_torch_draws_them(kind: str) -> None:
    """Uniformly up to 1 / sqrt(d_hidden), whatever comes in, biases too."""
    make, make_theirs, options = KINDS[kind]
    torch.manual_seed(0)
    mine, layer = make(7, 64, 2, **options), make_theirs(7, 64, 2, **options)
    bound = 1 / 8
    for parameter in (*mine.parameters(), *layer.parameters()):
        assert parameter.abs().max() <= bound
        assert parameter.abs().max() > 0.9 * bound
        assert parameter.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.25)
    drawn = torch.cat([p.detach().flatten() for p in mine.parameters()]).sort().values
    expected = torch.linspace(-bound, bound, len(drawn))
    assert (drawn - expected).abs().max() < 0.02 * bound


def test_later_inputs_change_no_earlier_output(kind: str) -> None:
    """Bit for bit; the position itself and all after it move."""
    layer, x = ours(theirs(kind, 2)), normal(BATCH, SEQ, D_INPUT).detach()
    changed = x.clone()
    changed[:, 4] *= -1
    moved = (layer(x)[0] - layer(changed)[0]).abs().amax(dim=(0, 2))
    assert not moved[:4].any()
    assert (moved[4:] > 1e-6).all()


def test_items_of_a_batch_do_not_mix(kind: str) -> None:
    """Changing one item leaves outputs and states of the others bit for bit."""
    layer, x = ours(theirs(kind, 2)), normal(BATCH, SEQ, D_INPUT).detach()
    changed = x.clone()
    changed[1] *= -1
    for before, after in zip(flat(layer(x)), flat(layer(changed)), strict=True):
        axis = 0 if before.shape[0] == BATCH else 1
        before, after = before.movedim(axis, 0), after.movedim(axis, 0)
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert (before[1] - after[1]).abs().max() > 1e-3


def test_recurrent_layers_train(kind: str) -> None:
    """A few steps of Adam on one text teach the layer to say what came one step before."""
    make, _, options = KINDS[kind]
    torch.manual_seed(0)
    layer, x = make(2, 24, 1, **options), normal(4, 12, 2).detach().float()
    optimiser, losses = torch.optim.Adam(layer.parameters(), lr=1e-2), []
    for _ in range(80):
        loss = (layer(x)[0][:, 1:, :2] - x[:, :-1].tanh().relu() * 0.7).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


def jacobians(layer: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """Of the last output by every input: (batch, output, seq, input), item by item."""

    def last(item: Tensor) -> Tensor:
        output = layer(item[None])
        result: Tensor = (output[0] if isinstance(output, tuple) else output)[0, -1]
        return result

    return torch.stack([torch.autograd.functional.jacobian(last, item) for item in x.detach()])


class CausalAttention(nn.Module):
    """A layer that gives no tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(D_INPUT, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to what came before."""
        result: Tensor = self.attention(x, mask=causal_mask(x.shape[1]))
        return result


@pytest.mark.parametrize(
    "make", [lambda: RNN(D_INPUT, 4), lambda: LSTM(D_INPUT, 4, 2), CausalAttention]
)
def test_gradient_reach_is_the_jacobian_in_a_random_direction(
    make: Callable[[], nn.Module],
) -> None:
    """By hand: the direction that the generator gives, times each block of the Jacobian."""
    torch.manual_seed(0)
    layer, x = make().double(), normal(BATCH, SEQ, D_INPUT)
    before = x.detach().clone()
    reach = gradient_reach(layer, x, torch.Generator().manual_seed(3))
    blocks = jacobians(layer, x)
    direction = torch.randn(
        BATCH, blocks.shape[1], generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    rows = torch.einsum("bo,bosi->bsi", direction, blocks)
    torch.testing.assert_close(reach, rows.norm(dim=-1).mean(dim=0).flip(0))
    assert x.grad is None
    assert torch.equal(x, before)
    assert all(parameter.grad is None for parameter in layer.parameters())
    assert not reach.requires_grad


def test_gradient_reach_squared_is_the_jacobians_norm_on_average() -> None:
    """Over many directions, the mean square is the sum of all squared derivatives."""
    torch.manual_seed(0)
    layer, x = RNN(D_INPUT, 4).double(), normal(1, 4, D_INPUT)
    generator = torch.Generator().manual_seed(0)
    squares = [gradient_reach(layer, x, generator).square() for _ in range(1500)]
    expected = jacobians(layer, x)[0].square().sum(dim=(0, 2)).flip(0)
    torch.testing.assert_close(torch.stack(squares).mean(dim=0), expected, rtol=0.1, atol=0)


def test_gradient_reach_of_a_linear_recurrence_is_known() -> None:
    """A state that halves at each step: 1, 1/2, 1/4, ... and never an underflow in float64."""
    layer = RNN(1, 1, nonlinearity="relu").double()
    with torch.no_grad():
        for parameter, value in zip(
            map(
                layer.get_parameter,
                ("input.0.weight", "input.0.bias", "recurrent.0.weight", "recurrent.0.bias"),
            ),
            (1.0, 1.0, 0.5, 0.0),
            strict=True,
        ):
            parameter.fill_(value)
    with torch.no_grad():  # it needs no gradients of the caller
        reach = gradient_reach(layer, torch.ones(2, 512, 1, dtype=torch.float64))
    expected = 0.5 ** torch.arange(512, dtype=torch.float64)
    torch.testing.assert_close(reach / reach[0], expected, rtol=1e-10, atol=0)
    assert reach[-1] > 0


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(lambda x: x[:, 1:], "(2, 3, 4)"), (lambda x: x.mean(dim=1), "(2, 4)")],
)
def test_gradient_reach_needs_an_output_for_each_position(
    layer: Callable[[Tensor], Tensor], shape: str
) -> None:
    """Of something else, the last would not be the last."""
    with pytest.raises(ValueError, match=re.escape(f"(2, 4, 'd'), got {shape}")):
        gradient_reach(layer, torch.ones(2, 4, 4))


@pytest.mark.parametrize("sizes", [(0, 3, 2), (3, -1, 2), (3, 2, 0)])
def test_impossible_sizes_are_named(kind: str, sizes: tuple[int, int, int]) -> None:
    """When the layer is made, not when it runs."""
    message = "d_input, d_hidden and num_layers must be positive, got {}, {} and {}"
    with pytest.raises(ValueError, match=message.format(*sizes)):
        KINDS[kind][0](*sizes)


def test_an_unknown_nonlinearity_is_named() -> None:
    """PyTorch has the same two."""
    with pytest.raises(ValueError, match="nonlinearity must be 'tanh' or 'relu', got 'gelu'"):
        RNN(2, 3, nonlinearity="gelu")


@pytest.mark.plain
@pytest.mark.parametrize("shape", [(SEQ, D_INPUT), (BATCH, SEQ, 4), (BATCH, 0, D_INPUT)])
def test_wrong_inputs_are_named(kind: str, shape: tuple[int, ...]) -> None:
    """The error shows the shape that is needed and the one that came."""
    message = re.escape(f"(batch, seq, d_input = 5) and at least one position, got shape {shape}")
    with pytest.raises(ValueError, match=message):
        ours(theirs(kind))(normal(*shape))


@pytest.mark.plain
def test_wrong_states_are_named() -> None:
    """One for all layers, of the batch's size; an LSTM takes two."""
    x, message = (
        normal(BATCH, SEQ, D_INPUT),
        "state must have the shape (layers, batch, d_hidden) = ",
    )
    with pytest.raises(ValueError, match=re.escape(f"{message}(2, 3, 6), got (1, 3, 6)")):
        RNN(D_INPUT, D_HIDDEN, 2).double()(x, normal(1, BATCH, D_HIDDEN))
    lstm = LSTM(D_INPUT, D_HIDDEN).double()
    good, bad = normal(1, BATCH, D_HIDDEN), normal(1, 1, D_HIDDEN)
    with pytest.raises(
        ValueError, match=re.escape(f"{message}(1, 3, 6), got (1, 3, 6), (1, 1, 6)")
    ):
        lstm(x, (good, bad))
    with pytest.raises(ValueError, match=re.escape("got (3, 6)")):
        lstm(x, good)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("tanh", {"bidirectional": True}, "got bidirectional=True and proj_size=0"),
        ("lstm", {"bidirectional": True}, "got bidirectional=True and proj_size=0"),
        ("lstm", {"proj_size": 3}, "got bidirectional=False and proj_size=3"),
    ],
)
def test_from_torch_names_what_it_does_not_support(
    kind: str, options: dict[str, Any], message: str
) -> None:
    """A layer that ours cannot equal is refused instead of half copied."""
    with pytest.raises(ValueError, match=f"bidirectional must be False and proj_size 0, {message}"):
        ours(theirs(kind, **options))


@pytest.mark.plain
def test_from_torch_refuses_other_things() -> None:
    """Also the other one of the two."""
    with pytest.raises(TypeError, match=r"need an nn\.RNN, got LSTM"):
        RNN.from_torch(nn.LSTM(2, 3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"need an nn\.LSTM, got GRU"):
        LSTM.from_torch(nn.GRU(2, 3))  # type: ignore[arg-type]
