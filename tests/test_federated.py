"""`llmbook.federated`: Flower's average, inputs back from gradients, and sums of which nobody sees the parts."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.federated import (
    PRIME,
    SecureSum,
    average,
    federate,
    from_residues,
    invert_by_search,
    invert_dense,
    join_shares,
    split_secret,
    to_residues,
    tokens_in,
    train_locally,
)
from llmbook.gpt import GPT, GPTConfig
from llmbook.training import next_token_loss
from tests.reference import saved
from tests.reference.flwr import CASES, SHAPES

# --- averaging -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(CASES)))
def test_the_average_is_flowers(case: int) -> None:
    """In several types, with a client that has nothing, and for scalars."""
    theirs = saved("flwr")
    kind, counts = CASES[case]
    clients = [[theirs[f"{case}.{k}.{i}"] for i in range(len(SHAPES))] for k in range(len(counts))]
    found = average(clients, counts)
    for i, array in enumerate(found):
        expected = theirs[f"{case}.average.{i}"]
        assert array.shape == SHAPES[i]
        assert array.dtype == (np.float64 if kind == "int64" else np.dtype(kind))
        rtol = {"float16": 2e-3, "float32": 1e-6}.get(kind, 1e-12)
        np.testing.assert_allclose(array, expected.astype(np.float64), rtol=rtol, atol=rtol)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(0, 1000)), min_size=1, max_size=6))
def test_an_average_lies_between_and_does_not_care_for_order_or_unit(
    clients: list[tuple[float, int]],
) -> None:
    values = [[np.array([value])] for value, _ in clients]
    counts = [count for _, count in clients]
    if not any(counts):
        return
    (found,) = average(values, counts)
    counted = [value for value, count in clients if count]
    slack = 1e-9 * (1 + max(map(abs, counted)))
    assert min(counted) - slack <= found[0] <= max(counted) + slack
    (again,) = average(values[::-1], [3 * count for count in counts[::-1]])
    np.testing.assert_allclose(found, again, rtol=1e-9, atol=slack)


def test_large_float16_do_not_overflow_and_a_client_without_data_may_send_anything() -> None:
    big = [[np.array([60_000.0], np.float16)] for _ in range(3)]
    (found,) = average(big, [1000, 1000, 1000])
    assert found.dtype == np.float16
    assert found[0] == np.float16(60_000.0)
    (kept,) = average([[np.array([2.0])], [np.array([math.nan])]], [5, 0])
    assert kept[0] == 2
    (mixed,) = average([[np.ones(2, np.float32)], [np.zeros(2, np.float64)]], [1, 1])
    assert mixed.dtype == np.float64


@pytest.mark.plain
def test_what_cannot_be_averaged_is_refused() -> None:
    a, b = [np.ones((2, 3))], [np.ones((3, 2))]
    cases: list[tuple[Any, Any, str]] = [
        ([], [], "at least one client"),
        ([a, a], [1], "counts must be as many as clients, got 1 for 2 clients"),
        ([a, a], [0, 0], r"not all of them 0, got \[0.0, 0.0\]"),
        ([a, a], [1, -2], r"counts must be finite, not negative.*-2.0"),
        ([a, a], [1, math.nan], "counts must be finite"),
        ([a, b], [1, 1], r"weights\[1\]\[0\] must have the shape \(2, 3\).*got \(3, 2\)"),
        ([a, a + a], [1, 1], r"weights\[1\] must have as many arrays as weights\[0\], 1, got 2"),
        ([[np.array(["x"])]], [1], "must hold numbers"),
    ]
    for weights, counts, match in cases:
        with pytest.raises(ValueError, match=match):
            average(weights, counts)


def test_one_full_step_of_each_client_is_the_step_on_all_data() -> None:
    """McMahan's FedSGD: weights move as on the pooled data, however it is dealt."""
    torch.manual_seed(0)
    x, y = torch.randn(30, 4).double(), torch.randint(3, (30,))
    clients = [(x[:5], y[:5]), (x[5:12], y[5:12]), (x[12:], y[12:])]
    model, pooled = (nn.Linear(4, 3).double() for _ in range(2))
    pooled.load_state_dict(model.state_dict())
    options: dict[str, Any] = {"epochs": 1, "batch": 100, "lr": 0.5}
    (served,) = federate(model, clients, rounds=1, generator=torch.Generator(), **options)
    train_locally(pooled, (x, y), generator=torch.Generator(), **options)
    for ours, theirs in zip(served.parameters(), pooled.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.plain
def test_a_round_needs_clients_with_data() -> None:
    options: dict[str, Any] = {"epochs": 1, "batch": 2, "lr": 0.1, "generator": torch.Generator()}
    with pytest.raises(ValueError, match="clients must be positive, got 0"):
        next(federate(nn.Linear(1, 1), [], rounds=1, **options))
    with pytest.raises(ValueError, match="rows must be positive, got 0"):
        train_locally(nn.Linear(1, 1), (torch.ones(0, 1), torch.ones(0)), **options)


# --- inversion -------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 12), st.integers(0, 1000))
def test_the_input_of_a_first_dense_layer_comes_back_however_deep_the_network(
    depth: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        hidden = [part for _ in range(depth) for part in (nn.Linear(16, 16), nn.Tanh())]
        network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), *hidden, nn.Linear(16, 3)).double()
    x = torch.randn(1, 8, generator=generator, dtype=torch.double)
    F.cross_entropy(network(x), torch.tensor([1])).backward()
    first = network[0]
    assert isinstance(first, nn.Linear)
    assert first.weight.grad is not None
    assert first.bias.grad is not None
    torch.testing.assert_close(invert_dense(first.weight.grad, first.bias.grad), x[0])


def test_of_two_inputs_comes_a_mean_that_is_neither() -> None:
    x, delta = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[2.0], [-1.0]])
    found = invert_dense(delta.T @ x, delta.sum(0))
    assert found.tolist() == [2.0, -1.0]


@pytest.mark.plain
def test_nothing_can_be_divided_by_zeros() -> None:
    with pytest.raises(ValueError, match="got zeros alone"):
        invert_dense(torch.ones(2, 3), torch.zeros(2))
    with pytest.raises(ValueError, match="got 2 rows and 3 biases"):
        invert_dense(torch.ones(2, 3), torch.zeros(3))


@pytest.mark.parametrize("tied", [True, False])
def test_a_gpts_embedding_lists_its_tokens_unless_it_is_the_output_layer_too(tied: bool) -> None:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=50, d_model=16, num_layers=2, num_heads=2, max_len=8, tied=tied)
    model = GPT(config)
    text = torch.tensor([[7, 3, 3, 41, 0, 12]])
    next_token_loss(model, text).backward()
    assert model.embedding.weight.grad is not None
    found = tokens_in(model.embedding.weight.grad)
    # the last token is only predicted, never read
    assert found.tolist() == (list(range(50)) if tied else [0, 3, 7, 41])


def gradients(model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters())))


def test_a_search_finds_what_no_division_gives() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 12, bias=False), nn.Sigmoid(), nn.Linear(12, 3)).double()
    x, y = torch.rand(1, 6).double(), torch.tensor([2])
    for within in (None, (0.0, 1.0)):
        guess = torch.full((1, 6), 0.5).double()
        found = invert_by_search(model, gradients(model, x, y), guess, y, steps=40, within=within)
        torch.testing.assert_close(found, x, rtol=0, atol=1e-4)


@pytest.mark.plain
def test_a_search_needs_all_gradients_and_a_guess_inside() -> None:
    model = nn.Linear(2, 2)
    x, y = torch.rand(1, 2), torch.tensor([0])
    with pytest.raises(ValueError, match="as many as parameters, 2, got 1"):
        invert_by_search(model, gradients(model, x, y)[:1], x, y)
    with pytest.raises(ValueError, match="guess must be between 0 and 1"):
        invert_by_search(model, gradients(model, x, y), x + 1, y, within=(0, 1))


# --- secure aggregation ----------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.integers(0, PRIME - 1), st.integers(1, 7), st.data())
def test_any_threshold_of_shares_gives_the_secret(secret: int, n: int, data: st.DataObject) -> None:
    threshold = data.draw(st.integers(1, n))
    shares = split_secret(secret, n, threshold, np.random.default_rng(0))
    chosen = data.draw(st.permutations(shares))[:threshold]
    assert join_shares(chosen) == secret


def test_fewer_shares_say_nothing() -> None:
    """Two of three points of a parabola go with every secret: some third share makes it so."""
    shares = split_secret(5, 3, 3, np.random.default_rng(0))
    for other in (0, 6, PRIME - 1):
        # Lagrange at 0 over x = 1, 2, 3 is 3 y1 - 3 y2 + y3
        y3 = (other - 3 * shares[0][1] + 3 * shares[1][1]) % PRIME
        assert join_shares([*shares[:2], (3, y3)]) == other


@settings(deadline=None, max_examples=30)
@given(st.integers(3, 6), st.integers(0, 100), st.sampled_from([1000, 2**32, 2**62]), st.data())
def test_the_sum_is_that_of_those_who_have_sent(
    clients: int, seed: int, modulus: int, data: st.DataObject
) -> None:
    threshold = clients // 2 + 1
    here = data.draw(st.lists(st.integers(0, clients - 1), min_size=threshold, unique=True))
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-500, modulus, size=(clients, 4))
    secure = SecureSum(clients, threshold, seed, modulus)
    sent = {u: secure.masked(u, vectors[u]) for u in here}
    expected = np.array([sum(int(vectors[u, i]) for u in here) % modulus for i in range(4)])
    np.testing.assert_array_equal(secure.total(sent), expected)


def test_what_a_client_sends_is_uniform_whatever_it_has() -> None:
    """Over seeds: of a vector of zeros and of one of ones the same spread over the residues."""
    for value in (0, 1):
        sent = np.concatenate(
            [SecureSum(3, 2, seed, 16).masked(1, np.full(8, value)) for seed in range(200)]
        )
        counts = np.bincount(sent, minlength=16)
        assert ((counts - 100) ** 2 / 100).sum() < 40  # chi squared, 15 degrees of freedom


@pytest.mark.plain
def test_a_sum_needs_three_clients_and_enough_who_send() -> None:
    cases: list[tuple[tuple[int, ...], str]] = [
        ((2, 2, 0), "clients must be at least 3, got 2"),
        ((4, 2, 0), "threshold must be more than half of 4"),
        ((4, 5, 0), "no more than all, got 5"),
        ((3, 2, 0, 1), "modulus must be from 2"),
    ]
    for arguments, match in cases:
        with pytest.raises(ValueError, match=match):
            SecureSum(*arguments)
    secure = SecureSum(3, 2, 0)
    with pytest.raises(ValueError, match="at least 2 clients, got 1"):
        secure.total({0: secure.masked(0, np.array([1]))})
    with pytest.raises(ValueError, match="client must be from 0 to 2, got 3"):
        secure.masked(3, np.array([1]))
    with pytest.raises(ValueError, match="whole numbers, got dtype float64"):
        secure.masked(0, np.array([1.5]))
    with pytest.raises(ValueError, match="clients below 3"):
        secure.total({0: np.array([1]), 5: np.array([1])})
    with pytest.raises(ValueError, match="different clients"):
        join_shares([(1, 2), (1, 2)])
    with pytest.raises(ValueError, match="threshold from 1 to shares, got 3, 4 and 2"):
        split_secret(3, shares=2, threshold=4, rng=np.random.default_rng(0))


@settings(deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=1, max_size=5))
def test_numbers_survive_the_way_through_residues(values: list[float]) -> None:
    array = np.array(values)
    residues = to_residues(array, 2**20, scale=1000, clients=10)
    np.testing.assert_allclose(from_residues(residues, 2**20, scale=1000), array, atol=5.1e-4)
    summed = from_residues(3 * residues % 2**20, 2**20, scale=1000)
    np.testing.assert_allclose(summed, 3 * array, atol=1.6e-3)


@pytest.mark.plain
def test_numbers_whose_sum_may_wrap_are_refused() -> None:
    for value in (2.0, math.nan, -math.inf):
        with pytest.raises(ValueError, match=r"values must be finite and below 1.66667 in size"):
            to_residues(np.array([value]), 1000, scale=100, clients=3)
