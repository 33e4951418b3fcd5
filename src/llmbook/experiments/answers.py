"""What becomes of an adder that writes several answers: a vote, and preferences among them.

The sums and the adder are those of `emergence`. An adder that has read few sums is often wrong, and
its answers differ when they are drawn.
"""

import copy
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from llmbook.experiments.emergence import ANSWER, adder, answer_loss, sums
from llmbook.gpt import GPT
from llmbook.preferences import dpo_loss, sequence_log_probs
from llmbook.training import Recipe, evaluating, train


@dataclass(frozen=True)
class Setup:
    """The settings of the experiment.

    Attributes:
        d_model: Width of the adder.
        steps: For which the adder learns, of as many as its schedule has.
        batch: Sums in a step.
        pairs: Pairs of answers in a step of preferences.
        updates: Steps of preferences.
        lr: Their learning rate.
        beta: How dear it is to leave the reference.
        tested: Sums on which all is measured, which are read nowhere else.
    """

    d_model: int = 32
    steps: int = 500
    batch: int = 128
    pairs: int = 128
    updates: int = 60
    lr: float | int = 1e-3
    beta: float | int = 0.1
    tested: int = 500


def young_adder(seed: int, setup: Setup = Setup()) -> GPT:
    """An adder that has read few sums."""
    model = adder(setup.d_model, seed)
    recipe = Recipe(steps=setup.steps, muon_lr=0.02, warmup=setup.steps // 32)
    generator = torch.Generator().manual_seed(seed)
    train(model, partial(sums, setup.batch), recipe, generator=generator, loss=answer_loss)
    return model


@torch.no_grad()
def draw_answers(
    model: nn.Module, token_ids: Int[Tensor, "batch seq"], generator: torch.Generator | None = None
) -> Int[Tensor, "batch answer"]:
    """Let a model write the sums of some additions: drawn digit by digit, or always the likeliest.

    Args:
        model: Gives logits for token ids.
        token_ids: Additions; their sums are not read.
        generator: Draws; without one the likeliest digit is written.
    """
    text = token_ids[:, :-ANSWER].long()
    with evaluating(model):
        for _ in range(ANSWER):
            logits = model(text)[:, -1]
            if generator is None:
                digit = logits.argmax(-1, keepdim=True)
            else:
                digit = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            text = torch.cat((text, digit), 1)
    return text[:, -ANSWER:]


def vote(answers: Int[Tensor, "samples batch answer"]) -> Int[Tensor, "batch answer"]:
    """For each question the answer that comes most often; of equals the one that came first.

    Examples:
        >>> vote(torch.tensor([[[1, 2]], [[3, 4]], [[3, 4]]]))
        tensor([[3, 4]])
    """
    winners = [
        Counter(map(tuple, asked.tolist())).most_common(1)[0][0] for asked in answers.unbind(1)
    ]
    return torch.tensor(winners)


def share_right(answers: Int[Tensor, "batch answer"], token_ids: Int[Tensor, "batch seq"]) -> float:
    """The share of additions whose sum has every digit right."""
    return (answers == token_ids[:, -ANSWER:]).all(-1).double().mean().item()


def voting(seed: int, samples: int = 27, setup: Setup = Setup()) -> dict[str, Any]:
    """Judge an adder by one answer, by votes, and by whether any answer is right.

    Args:
        seed: Of the adder, of the sums and of what is drawn.
        samples: Answers to each question.
        setup: All other settings.

    Returns:
        "greedy": the share of right sums if the likeliest digits are written; "votes": for 1, 3,
        9, … answers the share of right winners; "any": the same for those where one answer is
        right.
    """
    model = young_adder(seed, setup)
    asked = sums(setup.tested, torch.Generator().manual_seed(20_000 + seed))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([draw_answers(model, asked, generator) for _ in range(samples)])
    counts = [3**k for k in range(20) if 3**k <= samples]
    right = (drawn == asked[:, -ANSWER:]).all(-1)
    return {
        "greedy": share_right(draw_answers(model, asked), asked),
        "votes": {str(n): share_right(vote(drawn[:n]), asked) for n in counts},
        "any": {str(n): right[:n].any(0).double().mean().item() for n in counts},
    }


def preference_step(seed: int, *, shuffled: bool = False, setup: Setup = Setup()) -> dict[str, Any]:
    """Teach an adder to prefer right sums to its own wrong ones, by pairs.

    Args:
        seed: Of the adder, of the sums and of what is drawn.
        shuffled: Choose the preferred of each pair by lot: the control.
        setup: All other settings.

    Returns:
        Before and after, on sums of another seed: "right", the share of greedy sums that are;
        "loss" of the right digits in nats; and, after, "preferred", the share of new pairs whose
        right answer has the larger implicit reward, "margin", by how much, and "drift", the
        divergence of the policy from the reference in nats an answer, on the reference's answers.
    """
    reference = young_adder(seed, setup)
    policy = copy.deepcopy(reference)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(policy.parameters(), setup.lr, weight_decay=0)
    answer = torch.zeros(reference_length(), dtype=torch.bool)
    answer[-ANSWER:] = True
    for _ in range(setup.updates):
        chosen, rejected = pairs(reference, setup.pairs, generator, shuffled=shuffled)
        with torch.no_grad():
            base = [sequence_log_probs(reference, ids, answer) for ids in (chosen, rejected)]
        ours = [sequence_log_probs(policy, ids, answer) for ids in (chosen, rejected)]
        optimizer.zero_grad()
        dpo_loss(ours[0], ours[1], base[0], base[1], setup.beta).backward()
        optimizer.step()
    unseen = torch.Generator().manual_seed(30_000 + seed)
    asked = sums(setup.tested, unseen)
    chosen, rejected = pairs(reference, setup.tested, unseen)
    with torch.no_grad(), evaluating(policy), evaluating(reference):
        gains = [
            sequence_log_probs(policy, ids, answer) - sequence_log_probs(reference, ids, answer)
            for ids in (chosen, rejected)
        ]
        drift = divergence(reference, policy, asked)
        losses = [answer_loss(model, asked).item() * ANSWER for model in (reference, policy)]
    margin = setup.beta * (gains[0] - gains[1])
    return {
        "right": [share_right(draw_answers(m, asked), asked) for m in (reference, policy)],
        "loss": losses,
        "preferred": (margin > 0).double().mean().item(),
        "margin": margin.mean().item(),
        "drift": drift,
    }


def reference_length() -> int:
    """Tokens of an addition with its sum."""
    return sums(1, torch.Generator()).shape[1]


def pairs(
    model: nn.Module, count: int, generator: torch.Generator, *, shuffled: bool = False
) -> tuple[Int[Tensor, "pairs seq"], Int[Tensor, "pairs seq"]]:
    """Additions with a right and a wrong sum, the wrong one as the model has drawn it.

    Args:
        model: Draws the wrong ones; what it gets right is left out.
        count: How many additions are asked; there are as many pairs as wrong answers.
        generator: Where the randomness comes from.
        shuffled: Exchange the two by lot.

    Returns:
        The chosen and the rejected.
    """
    asked = sums(count, generator)
    drawn = draw_answers(model, asked, generator)
    wrong = (drawn != asked[:, -ANSWER:]).any(-1)
    chosen = asked[wrong]
    rejected = torch.cat((asked[wrong, :-ANSWER], drawn[wrong]), 1)
    if shuffled:
        lot = torch.rand(len(chosen), 1, generator=generator) < 0.5
        chosen, rejected = torch.where(lot, chosen, rejected), torch.where(lot, rejected, chosen)
    return chosen, rejected


@torch.no_grad()
def divergence(
    reference: nn.Module, policy: nn.Module, token_ids: Int[Tensor, "batch seq"]
) -> float:
    r"""$\mathrm{KL}(\pi_\mathrm{ref} \,\|\, \pi)$ along right answers, in nats an answer."""
    logits: list[Float[Tensor, "batch answer vocab"]] = [
        model(token_ids[:, :-1])[:, -ANSWER:].log_softmax(-1) for model in (reference, policy)
    ]
    found = F.kl_div(logits[1], logits[0], reduction="none", log_target=True)
    return found.sum((-2, -1)).mean().item()


def run(seed: int) -> dict[str, Any]:
    """All of it with one seed, as it is recorded: "voting", "preferences" and the control."""
    return {
        "voting": voting(seed),
        "preferences": preference_step(seed),
        "shuffled": preference_step(seed, shuffled=True),
    }
