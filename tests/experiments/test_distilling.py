from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from llmbook.distillation import distillation_loss
from llmbook.experiments.distilling import (
    KINDS,
    Setup,
    few_tokens,
    mixed_loss,
    smoothed_loss,
    study,
    teacher_of_few,
)
from llmbook.experiments.ladder import VARIANTS, Variant, config, read
from llmbook.experiments.results import recorded
from llmbook.gpt import GPT

SMALL = replace(Setup(), student=Variant(d_model=8, num_layers=1), batch=2, seq=8)


def models() -> tuple[GPT, GPT, torch.Tensor]:
    torch.manual_seed(0)
    return (
        GPT(config(SMALL.student)).eval(),
        GPT(config(SMALL.student)).eval(),
        torch.randint(2048, (2, 9)),
    )


def test_the_student_reads_a_part_of_what_the_teacher_read_and_nothing_of_the_test() -> None:
    corpus, few = read(), few_tokens()
    assert len(few) == int(0.02 * len(corpus.learned.token_ids))
    assert few.tolist() == corpus.learned.token_ids[-len(few) :].tolist()


def test_the_mixed_loss_is_the_weighted_sum_and_the_teacher_is_not_trained() -> None:
    student, teacher, token_ids = models()
    loss = mixed_loss(student, token_ids, teacher, SMALL)
    logits, theirs = student(token_ids[:, :-1]), teacher(token_ids[:, :-1])
    hard = F.cross_entropy(logits.flatten(0, 1), token_ids[:, 1:].flatten())
    torch.testing.assert_close(loss, 0.9 * distillation_loss(logits, theirs, 2.0) + 0.1 * hard)
    loss.backward()
    assert all(p.grad is None for p in teacher.parameters())


def test_smoothing_gives_a_tenth_to_all_tokens_alike() -> None:
    student, _, token_ids = models()
    logits = student(token_ids[:, :-1]).flatten(0, 1)
    target = 0.9 * F.one_hot(token_ids[:, 1:].flatten(), 2048) + 0.1 / 2048
    torch.testing.assert_close(
        smoothed_loss(student, token_ids, SMALL), F.cross_entropy(logits, target)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_is_told_by_its_seed_and_begins_from_the_same_weights_whatever_the_kind(
    kind: str,
) -> None:
    _, teacher, token_ids = models()
    one, other = (study(kind, 2, 5, teacher, SMALL) for _ in range(2))
    assert torch.equal(one(token_ids[:, :8]), other(token_ids[:, :8]))


def test_the_record_says_what_the_chapter_says() -> None:
    for run in recorded("distillation"):
        best = {
            kind: min(run[kind].values(), key=lambda r: r["validation"])["test"] for kind in KINDS
        }
        assert run["teacher"]["test"] < best["taught"] < min(best["alone"], best["smoothed"])
        few = min(run["taught by few"].values(), key=lambda r: r["validation"])["test"]
        assert best["taught"] < best["smoothed"] < few < best["alone"]


def test_a_teacher_of_few_is_as_large_as_the_teacher_and_reads_what_the_student_reads() -> None:
    steps, model = teacher_of_few(5, replace(SMALL, few=(1,)))
    alone = study("alone", 1, 5, None, replace(SMALL, student=VARIANTS["Muon"]))
    token_ids = models()[2]
    assert steps == 1
    assert model.config == config(VARIANTS["Muon"])
    assert torch.equal(model(token_ids), alone(token_ids))


@pytest.mark.plain
def test_what_is_missing_is_named() -> None:
    with pytest.raises(
        ValueError, match="kind must be one of alone, smoothed, taught, got 'tired'"
    ):
        study("tired", 2, 0, None, SMALL)
    with pytest.raises(ValueError, match="a taught student needs a teacher"):
        study("taught", 2, 0, None, SMALL)
