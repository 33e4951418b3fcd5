"""`llmbook.privacy`: equal to Opacus and to Google's accountant, exact at the edges, and audited."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from llmbook.experiments.canaries import audit
from llmbook.gpt import GPT, GPTConfig
from llmbook.privacy import (
    ORDERS,
    Guarantee,
    audit_epsilon,
    audit_guesses,
    audit_p_value,
    clipped_sum,
    epsilon,
    gradient_norms,
    group_privacy,
    noise_for,
    per_sample_gradients,
    rdp,
    train_privately,
)
from llmbook.training import next_token_loss
from tests.reference import saved
from tests.reference.dp_accounting import STEPS as ACCOUNTED
from tests.reference.opacus import CLIPS, STEPS, networks
from tests.reference.opacus import ORDERS as OPACUS_ORDERS


def label_loss(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def output(model: Any, x: Tensor) -> Tensor:
    return torch.as_tensor(model(x).sum())


# --- gradients of each record ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["dense", "text", "picture"])
def test_gradients_of_each_record_and_their_cut_sum_are_opacus(name: str) -> None:
    """Through dense, embedding, norm and convolution layers; cut by all, some and none."""
    theirs = saved("opacus")
    network, *_ = networks()[name]
    network.load_state_dict(
        {k: torch.from_numpy(theirs[f"{name}.weight {k}"]) for k in network.state_dict()}
    )
    batch = (
        torch.from_numpy(theirs[f"{name}.records"]),
        torch.from_numpy(theirs[f"{name}.labels"]),
    )
    found = per_sample_gradients(network, batch, label_loss)
    for k, gradient in found.items():
        torch.testing.assert_close(gradient, torch.from_numpy(theirs[f"{name}.gradient {k}"]))
    for clip in CLIPS:
        for k, gradient in clipped_sum(found, clip).items():
            expected = torch.from_numpy(theirs[f"{name}.cut {clip} {k}"])
            # Opacus divides by the norm + 1e-6, so that its gradients are a little shorter
            torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6 * clip)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_gradients_of_a_gpt_are_those_of_one_text_after_the_other(
    tied: bool, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    config = GPTConfig(vocab_size=11, d_model=8, num_layers=2, num_heads=2, max_len=9, tied=tied)
    model = GPT(config).to(dtype)
    texts = torch.randint(11, (5, 8))
    found = per_sample_gradients(model, texts)
    rtol, atol = (1e-10, 1e-12) if dtype == torch.float64 else (0.1, 0.01)
    for i in range(len(texts)):
        model.zero_grad()
        next_token_loss(model, texts[i : i + 1]).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            torch.testing.assert_close(found[name][i], p.grad, rtol=rtol, atol=atol)
    assert all(p.requires_grad for p in model.parameters())


def test_frozen_weights_have_no_gradients_and_dropout_draws_for_each_record() -> None:
    model = nn.Sequential(nn.Linear(4, 300, bias=False), nn.Dropout(0.5))
    found = per_sample_gradients(model, torch.ones(2, 4), output)["0.weight"]
    assert not torch.equal(found[0], found[1])
    two = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    two[0].requires_grad_(False)
    assert set(per_sample_gradients(two, torch.ones(1, 2), output)) == {"1.weight", "1.bias"}


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=6),
    st.floats(0.01, 100),
)
def test_one_record_changes_the_cut_sum_by_no_more_than_the_clip(
    rows: list[list[float]], clip: float
) -> None:
    gradients = {"a": torch.tensor(rows, dtype=torch.float64)}
    gradients["b"] = gradients["a"][:, :1] * 3
    whole = clipped_sum(gradients, clip)
    without = clipped_sum({k: g[1:] for k, g in gradients.items()}, clip)
    change = torch.cat([whole[k] - without[k] for k in whole]).norm().item()
    assert change <= clip * (1 + 1e-9)
    assert math.isclose(
        change, min(clip, gradient_norms(gradients)[0].item()), rel_tol=1e-6, abs_tol=1e-6
    )


@pytest.mark.plain
def test_what_cannot_be_cut_is_refused() -> None:
    model = nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"records must have rows.*\[0\]"):
        per_sample_gradients(model, torch.ones(0, 2), output)
    with pytest.raises(ValueError, match=r"as many, got \[2, 3\]"):
        per_sample_gradients(model, (torch.ones(2, 2), torch.ones(3)), label_loss)
    with pytest.raises(ValueError, match="weights that are trained, got none"):
        per_sample_gradients(model.requires_grad_(False), torch.ones(1, 2), output)
    for clip in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"clip must be positive, got {clip}"):
            clipped_sum({"w": torch.ones(1, 1)}, clip)
    with pytest.raises(ValueError, match="must be finite"):
        clipped_sum({"w": torch.tensor([[math.inf]])}, 1.0)


# --- training --------------------------------------------------------------------------------


def test_without_noise_and_with_a_long_clip_it_is_gradient_descent() -> None:
    """Every record in every step: the mean over all."""
    torch.manual_seed(0)
    x, y = torch.randn(9, 4).double(), torch.randint(3, (9,))
    ours = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    theirs = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    theirs.load_state_dict(ours.state_dict())
    guarantee = Guarantee(sampling_rate=1, noise_multiplier=0, steps=4, clip=1e9)
    train_privately(
        ours.eval(), (x, y), torch.optim.SGD(ours.parameters(), 0.3), guarantee,
        generator=torch.Generator(), loss=label_loss,
    )  # fmt: skip
    optimizer = torch.optim.SGD(theirs.parameters(), 0.3)
    for _ in range(4):
        optimizer.zero_grad()
        label_loss(theirs, (x, y)).backward()
        optimizer.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert not ours.training


def test_records_come_as_a_coin_says_and_the_noise_is_as_wide_as_it_should_be() -> None:
    """Of 400 records a step reads 400 q with the spread of a binomial; and sigma is noise x clip."""
    model = nn.Linear(400, 1, bias=False)
    nn.init.zeros_(model.weight)
    records, seen = torch.eye(400), []
    before = torch.zeros(1, 400)
    guarantee = Guarantee(sampling_rate=0.1, noise_multiplier=0.0, steps=200, clip=0.5)

    def look(step: int) -> None:
        nonlocal before
        seen.append(((before - model.weight.detach()).sum() * 40 / 0.5).item())
        before = model.weight.detach().clone()

    options: dict[str, Any] = {"generator": torch.Generator().manual_seed(0), "loss": output}
    sgd = torch.optim.SGD(model.parameters(), 1.0)
    train_privately(model, records, sgd, guarantee, on_step=look, **options)
    assert abs(np.mean(seen) - 40) < 4 * 6 / math.sqrt(200)
    assert 5 < np.std(seen) < 7  # sqrt(400 x .1 x .9) = 6
    nn.init.zeros_(model.weight)
    guarantee = Guarantee(sampling_rate=0.0, noise_multiplier=3.0, steps=50, clip=0.5)
    train_privately(model, records, sgd, guarantee, **options)  # all batches are empty
    assert abs(model.weight.std().item() / (3.0 * 0.5 * math.sqrt(50)) - 1) < 0.15


@pytest.mark.plain
def test_bad_settings_of_a_training_are_refused() -> None:
    good: dict[str, Any] = {"sampling_rate": 0.1, "noise_multiplier": 1.0, "steps": 3}
    for name, value, expected in [
        ("sampling_rate", 1.1, "from 0 to 1"),
        ("sampling_rate", math.nan, "from 0 to 1"),
        ("noise_multiplier", -1, "not be negative"),
        ("steps", -1, "not be negative"),
        ("clip", 0, "positive and finite"),
    ]:
        with pytest.raises(ValueError, match=f"{name} must.*{expected}.*got {value}"):
            Guarantee(**good | {name: value})
    with pytest.raises(TypeError, match=r"steps must be a whole number, got 1.5"):
        Guarantee(**good | {"steps": 1.5})
    model = nn.Linear(1, 1)
    with pytest.raises(ValueError, match="records must have rows"):
        train_privately(
            model, torch.ones(0, 1), torch.optim.SGD(model.parameters()), Guarantee(**good),
            generator=torch.Generator(), loss=output,
        )  # fmt: skip


# --- accounting ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(ACCOUNTED)))
def test_divergences_and_epsilon_are_googles(case: int) -> None:
    """At whole orders; at others theirs is the larger: it adds what alternates in sign."""
    theirs = saved("dp_accounting")
    q, z, steps, delta = ACCOUNTED[case]
    np.testing.assert_array_equal(theirs["orders"], ORDERS)
    ours = rdp(q, z, steps)
    whole = np.array(ORDERS) % 1 == 0
    np.testing.assert_allclose(
        ours[whole], theirs["rdp"][case][whole], rtol=1e-6, atol=steps * 1e-14
    )
    assert (ours <= theirs["rdp"][case] * (1 + 1e-5) + steps * 1e-13).all()
    only = [order for order in ORDERS if order % 1 == 0]
    expected = theirs["epsilon of whole orders"][case]
    assert math.isclose(epsilon(q, z, steps, delta, only), expected, rel_tol=1e-7, abs_tol=1e-9)
    of_all = epsilon(q, z, steps, delta)
    assert of_all <= theirs["epsilon"][case] * (1 + 1e-7)
    assert of_all >= theirs["epsilon"][case] * 0.99


@pytest.mark.parametrize("case", range(len(STEPS)))
def test_divergences_at_all_orders_are_opacus(case: int) -> None:
    """Which sums the series with its signs."""
    np.testing.assert_allclose(
        rdp(*STEPS[case], OPACUS_ORDERS), saved("opacus")["rdp"][case], rtol=1e-5
    )


@settings(deadline=None, max_examples=15)
@given(st.floats(0.001, 0.999), st.floats(0.3, 20), st.integers(2, 40))
def test_the_integral_is_the_sum_at_whole_orders(q: float, z: float, order: int) -> None:
    from llmbook.privacy import _log_moment

    near = _log_moment(q, z, order + 1e-9)  # no whole number: integrated
    assert math.isclose(near, _log_moment(q, z, float(order)), rel_tol=1e-5, abs_tol=1e-8)


def test_epsilon_at_the_edges() -> None:
    assert epsilon(0, 1.0, 100) == epsilon(0.5, 1.0, 0) == epsilon(0, 0, 10) == 0
    assert epsilon(0.5, 0, 1) == epsilon(1, 0.0, 1) == math.inf
    assert epsilon(0.5, 0, 0) == 0
    assert epsilon(0.5, math.inf, 10) == 0
    for z in (0.5, 1, 4):  # without sampling: alpha / 2 z^2
        np.testing.assert_allclose(
            rdp(1, z, 3, [1.5, 2, 30]), 3 * np.array([1.5, 2, 30]) / (2 * z * z)
        )
        assert math.isclose(epsilon(1, z, 3), epsilon(1 - 1e-12, z, 3), rel_tol=1e-6)
    assert epsilon(0.01, 0.01, 1) < math.inf
    assert epsilon(1, 100, 1, delta=0.5) == 0


@settings(deadline=None, max_examples=20)
@given(st.floats(0.001, 0.9), st.floats(0.4, 5), st.integers(1, 5000))
def test_more_of_what_costs_privacy_costs_more(q: float, z: float, steps: int) -> None:
    base = epsilon(q, z, steps)
    for other in (epsilon(q * 1.1, z, steps), epsilon(q, z * 0.9, steps), epsilon(q, z, steps + 1),
                  epsilon(q, z, steps, 1e-6)):  # fmt: skip
        assert other >= base * (1 - 1e-9)


def test_epsilon_is_above_the_exact_one_of_a_single_gaussian() -> None:
    """Whose delta has a closed form (Balle and Wang 2018)."""
    normal = torch.distributions.Normal(0.0, 1.0)
    for z in (0.5, 1.0, 3.0):
        bound = epsilon(1, z, 1)
        a, b = (
            normal.cdf(torch.tensor(s / (2 * z) - bound * z, dtype=torch.double)) for s in (1, -1)
        )
        assert (a - math.exp(bound) * b).item() <= 1e-5


@pytest.mark.plain
def test_numbers_may_be_of_any_type() -> None:
    of_numpy: Any = (np.float64(0.01), np.float32(1.0), np.int64(5), torch.tensor(1e-5).double())
    assert math.isclose(epsilon(*of_numpy), epsilon(0.01, 1.0, 5), rel_tol=1e-6)
    orders: Any = np.array([2.0, 3.0])
    assert epsilon(0.01, 1.0, 5, 1e-5, orders) > 0


@pytest.mark.plain
def test_an_accountant_refuses_what_is_no_training() -> None:
    for arguments, match in [
        ((1.5, 1, 1), "sampling_rate must be from 0 to 1, got 1.5"),
        ((-0.1, 1, 1), "sampling_rate must be from 0 to 1, got -0.1"),
        ((0.1, -1, 1), "noise_multiplier must not be negative, got -1"),
        ((0.1, math.nan, 1), "noise_multiplier must not be negative, got nan"),
        ((0.1, 1, -1), "steps must not be negative, got -1"),
        ((0.1, 1, 1, 0), "delta must be above 0 and below 1, got 0"),
        ((0.1, 1, 1, 1.0), "delta must be above 0 and below 1, got 1.0"),
        ((0.1, 1, 1, 1e-5, [1.0]), "orders must be above 1"),
        ((0.1, 1, 1, 1e-5, []), "at least one order"),
    ]:
        with pytest.raises(ValueError, match=match):
            epsilon(*arguments)  # type: ignore[arg-type]
    wrong: list[Any] = [(0.1, 1, 1.5), ("a", 1, 1), (0.1, None, 1)]
    for bad in wrong:
        with pytest.raises(TypeError):
            epsilon(*bad)
    with pytest.raises(ValueError, match="epsilon_at_most must be positive, got 0"):
        noise_for(0, 0.1, 10)
    with pytest.raises(ValueError, match="in reach"):
        noise_for(1e-9, 1.0, 10**9)
    with pytest.raises(ValueError, match=r"got 1.0, 1e-05 and 0"):
        group_privacy(1.0, 1e-5, 0)


def test_a_group_of_copies_is_protected_as_often_less() -> None:
    """By going from one data set to the next, k times."""
    e, d = 0.3, 1e-6
    for k in (1, 2, 5):
        steps = sum(math.exp(i * e) for i in range(k)) * d
        assert np.allclose(group_privacy(e, d, k), (k * e, steps))
    assert group_privacy(8, 1e-5, 64) == (512, 1)
    assert group_privacy(2, 0, 3) == (6, 0)
    assert np.allclose(group_privacy(0, 0.1, 3), (0, 0.3))
    assert group_privacy(1000, 1e-5, 64) == (64_000, 1)


# --- the audit -------------------------------------------------------------------------------


def test_the_audits_bound_is_the_theorem_by_hand() -> None:
    from scipy import stats

    for v, r, m, e, d in [
        (80, 100, 1000, 1.0, 1e-5),
        (300, 400, 400, 0.5, 1e-4),
        (7, 9, 20, 0.0, 0.01),
    ]:
        guesses = stats.binom(r, 1 / (1 + math.exp(-e)))
        worst = max((guesses.cdf(v - 1) - guesses.cdf(v - i - 1)) / i for i in range(1, v + 1))
        expected = min(1.0, guesses.sf(v - 1) + 2 * m * d * worst)
        assert math.isclose(audit_p_value(v, r, m, e, d), expected, rel_tol=1e-9)


def test_an_audit_of_coins_and_of_certainty() -> None:
    assert audit_p_value(0, 5, 5, 0.0) == 1
    assert audit_p_value(5, 5, 5, math.inf) == 1
    bound = audit_epsilon(100, 100, 100)  # all right: p^100 = .05
    assert math.isclose(bound, -math.log(0.05 ** (-1 / 100) - 1), rel_tol=1e-5)
    assert audit_epsilon(100, 100, 100, delta=1e-3) < bound
    assert audit_epsilon(55, 100, 1000, confidence=0.5) > audit_epsilon(55, 100, 1000) == 0


def run_audit(noise: float, seed: int) -> float:
    guarantee = Guarantee(sampling_rate=0.1, noise_multiplier=noise, steps=50)
    return audit_epsilon(audit(seed, guarantee), 200, 1000, delta=1e-5)


def test_the_audit_passes_the_training_and_catches_a_tenth_of_the_noise() -> None:
    """Over seeds: the bound is above 0 and below what was accounted, and above it for the bug."""
    noise = 0.6
    claimed = epsilon(0.1, noise, 50)
    bounds = [run_audit(noise, seed) for seed in range(3)]
    assert all(0 < bound < claimed for bound in bounds)
    weak = epsilon(0.1, 3.0, 50)
    assert weak < 2
    assert all(run_audit(0.3, seed) > weak for seed in range(3))


@pytest.mark.plain
def test_an_audit_refuses_what_it_cannot_count() -> None:
    with pytest.raises(ValueError, match=r"right <= guesses <= canaries, got 3, 2 and 5"):
        audit_p_value(3, 2, 5, 1.0)
    with pytest.raises(ValueError, match="got -1 and 0"):
        audit_p_value(1, 2, 5, -1, 0)
    with pytest.raises(ValueError, match="confidence must be above 0 and below 1, got 1"):
        audit_epsilon(1, 2, 5, confidence=1)
    coins = torch.tensor([True, False])
    for guesses in (0, 1, 4):
        with pytest.raises(ValueError, match=f"guesses must be even.*got {guesses}"):
            audit_guesses(torch.ones(2), coins, guesses)
