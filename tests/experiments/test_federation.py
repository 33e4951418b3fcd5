"""`llmbook.experiments.federation`: how the digits are dealt, and small runs of all of it."""

import torch

from llmbook.experiments import federation
from llmbook.experiments.federation import Setup, deal, gradients, network, noised, split

SMALL = Setup(clients=4, rounds=2, epochs=2)


def test_every_digit_goes_to_one_client() -> None:
    data, tested = split(0)
    assert len(data[1]) + len(tested[1]) == 1797
    for sorted_by_label in (False, True):
        hands = deal(data, 10, sorted_by_label=sorted_by_label)
        together = torch.cat([pictures for pictures, _ in hands])
        assert together.shape == data[0].shape
        assert torch.equal(together.sum(1).sort().values, data[0].sum(1).sort().values)
        kinds = [len(labels.unique()) for _, labels in hands]
        assert min(kinds) == 10 if not sorted_by_label else max(kinds) <= 4


def test_noise_is_as_long_as_it_says_and_a_long_gradient_is_cut() -> None:
    parts = [torch.full((100, 100), 1.0), torch.ones(10)]
    generator = torch.Generator().manual_seed(0)
    cut = noised(parts, 0.0, generator)
    assert abs(torch.cat([p.flatten() for p in cut]).norm() - 1) < 1e-4
    noisy = noised(parts, 0.5, generator, clip=2.0)
    assert abs((noisy[0] - 2 * cut[0]).std() - 1.0) < 0.05


def test_a_search_is_judged_against_all_pictures() -> None:
    pictures = torch.eye(5, 64)
    found = pictures[[2, 2]] + 0.01
    assert federation.identified(found, pictures, torch.tensor([2, 3])) == 0.5


def test_the_experiments_are_what_their_seeds_make() -> None:
    first = federation.averaging(0, SMALL)
    assert first == federation.averaging(0, SMALL)
    assert len(first["alike"]["2"]) == SMALL.rounds
    assert first["alike"]["2"][-1] > 0.5
    assert federation.dense_leak(0, 0.0, pictures=3)["identified"] == 1
    assert federation.dense_leak(0, 10.0, pictures=3)["identified"] == 0
    found = federation.searched(0, 1, tries=1, steps=10)
    assert found["identified"] == 1
    assert found["error"] < 0.01 * found["mean"]


def test_the_gradient_is_of_the_mean() -> None:
    data, _ = split(0)
    model = network(0)
    some = (data[0][:2], data[1][:2])
    each = [gradients(model, (some[0][i : i + 1], some[1][i : i + 1])) for i in range(2)]
    for both, a, b in zip(gradients(model, some), *each, strict=True):
        torch.testing.assert_close(both, (a + b) / 2)
