"""`llmbook.experiments.memories`: averages in the place of layers, neurons, and what they write."""

from typing import Any

import numpy as np
import pytest
import torch

from llmbook.experiments.memories import (
    LAYERS,
    PARTS,
    Tasks,
    ablated,
    averaged,
    excitement,
    look,
    means,
    neurons,
    texts,
    written,
)
from llmbook.experiments.results import recorded
from llmbook.pretrained import smollm2


def test_a_layer_is_the_sum_of_its_neurons_each_excited_and_written() -> None:
    """So that nothing of a feed-forward layer is left out of what the neurons say."""
    model, _ = smollm2()
    ids = texts(2, 12, 0)
    block: Any = model.blocks[7]
    given: list[torch.Tensor] = []
    handle = block.feed_forward.register_forward_hook(lambda *a: given.append(a[2]))
    excited = excitement(model, ids, (7,))[7]
    handle.remove()
    summed = excited @ block.feed_forward.down.weight.T
    torch.testing.assert_close(summed, given[0][:, 1:].flatten(0, 1), atol=1e-4, rtol=1e-3)


def test_what_a_neuron_writes_is_its_column_through_norm_and_output_matrix() -> None:
    """In standard scores over the vocabulary: mean 0, spread 1."""
    model, _ = smollm2()
    says = written(model, 3)
    assert says.shape == (model.config.vocab_size, model.config.d_ff)
    block: Any = model.blocks[3]
    column = block.feed_forward.down.weight[:, 5]
    plain = model.embedding.weight @ (model.norm.weight * column)
    expected = (plain - plain.mean()) / plain.std()
    torch.testing.assert_close(says[:, 5], expected, atol=1e-3, rtol=1e-3)


def test_with_its_average_a_layer_gives_the_same_everywhere_and_afterwards_its_own_again() -> None:
    model, _ = smollm2()
    ids = texts(2, 16, 0)
    mean = means(model, ids)
    assert set(mean) == {(part, layer) for part in PARTS for layer in range(len(model.blocks))}
    before = model(ids)
    block: Any = model.blocks[4]
    seen: list[torch.Tensor] = []
    with averaged(block.attention, mean["attention", 4]):
        handle = block.attention.register_forward_hook(lambda *a: seen.append(a[2]))
        assert not torch.allclose(model(ids), before)
        handle.remove()
    assert torch.equal(model(ids), before)
    assert torch.equal(seen[0], mean["attention", 4].expand_as(seen[0]))


def test_the_averages_are_over_texts_and_positions_without_the_first() -> None:
    model, _ = smollm2()
    ids = texts(3, 10, 1)
    given: list[torch.Tensor] = []
    block: Any = model.blocks[9]
    handle = block.attention.register_forward_hook(lambda *a: given.append(a[2]))
    mean = means(model, ids)["attention", 9]
    handle.remove()
    torch.testing.assert_close(mean, given[0][:, 1:].flatten(0, 1).mean(0))


def test_padded_questions_have_the_loss_that_each_has_alone() -> None:
    tasks = Tasks(0, small=True)
    alone = []
    for row, seen, answer in zip(tasks.questions, tasks.seen, tasks.answers, strict=True):
        logits = tasks.model(row[seen.bool()][None])[0, -1]
        alone.append(-logits.log_softmax(-1)[answer].item())
    assert tasks.losses()["capitals"] == pytest.approx(np.mean(alone), abs=1e-3)


def test_the_second_copy_alone_is_counted() -> None:
    """Its first token cannot be known."""
    tasks = Tasks(0, small=True)
    ids = tasks.copies
    half = (ids.shape[1] - 1) // 2
    assert torch.equal(ids[:, 1 : half + 1], ids[:, half + 1 :])
    log_probs = tasks.model(ids).log_softmax(-1)
    told = [
        -log_probs[row, place, ids[row, place + 1]].item()
        for row in range(len(ids))
        for place in range(half + 1, 2 * half)
    ]
    assert tasks.losses()["copies"] == pytest.approx(np.mean(told), abs=1e-3)


def test_a_neuron_that_reads_one_token_is_found_by_its_places() -> None:
    found = look(0, 0, count=4)
    assert {len(part) for part in found.values()} == {6}
    shares = neurons(0, (0,), count=4)["0"]
    assert 0.05 <= shares["same by lot"] < shares["same"] <= 1


@pytest.mark.plain
def test_more_texts_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match=r"count must be from 1 to \d+, got 1000"):
        texts(1000, 8, 0)


def test_the_record_has_every_layer_of_both_parts_and_a_run_today_agrees() -> None:
    records = recorded("memories")
    for record in records:
        for part in PARTS:
            assert list(record[part]) == [str(layer) for layer in LAYERS]
        assert list(record["neurons"]) == [str(layer) for layer in LAYERS]
    today = ablated(0, (), small=True)["whole"]
    again = ablated(0, (), small=True)["whole"]
    assert today == again
