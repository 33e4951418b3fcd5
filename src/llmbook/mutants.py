"""The classical mistakes, made on purpose: what tests, and a reader's exercise, must catch."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Mutant:
    """A module of this package with one mistake in it.

    Attributes:
        module: Its name in the package, such as "attention".
        mistake: What is wrong, in a few words.
        right: The piece of source that is replaced; it occurs exactly once.
        wrong: What stands there instead.
    """

    module: str
    mistake: str
    right: str
    wrong: str

    @property
    def source(self) -> str:
        """The module's source with the mistake in it.

        Raises:
            ValueError: If the module no longer holds the right piece exactly once.
        """
        text = source_file(self.module).read_text(encoding="utf-8")
        if (count := text.count(self.right)) != 1:
            raise ValueError(
                f"mutant {self.mistake!r} needs its piece once in llmbook.{self.module}, "
                f"which holds it {count} times: {self.right!r}"
            )
        return text.replace(self.right, self.wrong)

    def load(self) -> ModuleType:
        """The module with the mistake, beside the right one, which stays as it is.

        Examples:
            >>> import numpy as np
            >>> (broken,) = (m for m in mutants("numpy_attention") if "axis" in m.mistake)
            >>> broken.load().softmax(np.zeros((2, 4))).sum(axis=-1)
            array([2., 2.])
        """
        module = ModuleType(f"llmbook.{self.module}")
        module.__file__ = str(source_file(self.module))
        exec(compile(self.source, module.__file__, "exec"), module.__dict__)  # noqa: S102
        return module


def source_file(module: str) -> Path:
    """Where a module of this package lies."""
    spec = find_spec(f"llmbook.{module}")
    if spec is None or spec.origin is None:
        raise ValueError(f"llmbook has no module {module!r}")
    return Path(spec.origin)


def mutants(module: str | None = None) -> list[Mutant]:
    """All mutants, or those of one module.

    Raises:
        ValueError: If the module has none.

    Examples:
        >>> len(mutants("layers")) < len(mutants())
        True
    """
    found = [Mutant(name, *rest) for name, *rest in _MISTAKES if module in (None, name)]
    if not found:
        known = sorted({name for name, *_ in _MISTAKES})
        raise ValueError(f"module must be one of {known}, got {module!r}")
    return found


_MISTAKES = [
    # Recurrences for all places at once
    (
        "scan",
        "matrices joined in the wrong order",
        "a, b = a @ before_a,",
        "a, b = before_a @ a,",
    ),
    (
        "scan",
        "a place is joined with the next",
        "before_a = torch.cat((none, a[:-width]))",
        "before_a = torch.cat((a[width:], none))",
    ),
    (
        "scan",
        "the line touches at the place itself",
        "torch.cat((start[None], guess.detach()[:-1]))",
        "torch.cat((start[None], guess.detach()[1:]))",
    ),
    ("scan", "one round is enough", "if change <= tolerance:", "if change <= tolerance or count:"),
    (
        "scan",
        "no gradient reaches the weights",
        "return affine_scan(*linearised(guess)), count",
        "return guess, count",
    ),
    # NumPy attention
    ("numpy_attention", "no division by the root of d_k", " / math.sqrt(query.shape[-1])", ""),
    (
        "numpy_attention",
        "division by d_k, not by its root",
        "math.sqrt(query.shape[-1])",
        "query.shape[-1]",
    ),
    (
        "numpy_attention",
        "softmax over the wrong axis",
        "weights /= weights.sum(axis=-1, keepdims=True)",
        "weights /= weights.sum(axis=0, keepdims=True)",
    ),
    (
        "numpy_attention",
        "exp of scores that are not shifted",
        "np.exp(scores - highest)",
        "np.exp(scores)",
    ),
    ("numpy_attention", "mask upside down", "np.where(mask, scores,", "np.where(~mask, scores,"),
    (
        "numpy_attention",
        "masked scores zero instead of minus infinity",
        "np.where(mask, scores, -np.inf)",
        "np.where(mask, scores, 0.0)",
    ),
    # Gradients by hand
    (
        "numpy_gpt",
        "a norm’s gradient without the part through the variance",
        "d.mean(-1, keepdims=True) - along",
        "d.mean(-1, keepdims=True)",
    ),
    (
        "numpy_gpt",
        "a norm’s gradient without the part through the mean",
        "(d - d.mean(-1, keepdims=True) - along)",
        "(d - along)",
    ),
    (
        "numpy_gpt",
        "a softmax’s gradient that forgets that weights sum to 1",
        "weights * (by_weights - kept)",
        "weights * by_weights",
    ),
    ("numpy_gpt", "no root of the width in the gradient", "kept) / root", "kept)"),
    (
        "numpy_gpt",
        "queries and keys exchanged in the gradient",
        "by_scores @ key, by_scores.swapaxes(-1, -2) @ query",
        "by_scores @ query, by_scores.swapaxes(-1, -2) @ key",
    ),
    (
        "numpy_gpt",
        "the embedding’s gradient from the output alone",
        "            np.add.at(by_table, token_ids, dx)\n",
        "",
    ),
    (
        "numpy_gpt",
        "a token that occurs twice counts once",
        "np.add.at(by_table, token_ids, dx)",
        "by_table[token_ids] += dx",
    ),
    (
        "numpy_gpt",
        "no gradient past the attention",
        "return dh + back_n1(back_a(dh))",
        "return back_n1(back_a(dh))",
    ),
    (
        "numpy_gpt",
        "a loss that is a sum has a gradient that is a mean",
        "back(p / nexts.size)",
        "back(p)",
    ),
    (
        "numpy_gpt",
        "AdamW that decays through the gradient",
        "weight *= 1 - lr * self.weight_decay.get(name, 0.0)",
        "gradient = gradient + self.weight_decay.get(name, 0.0) * weight",
    ),
    (
        "numpy_gpt",
        "Adam’s means are not put right at the beginning",
        "1 - first**self.steps, 1 - second**self.steps",
        "1.0, 1.0",
    ),
    # Attention
    ("attention", "no division by the root of d_k", " / math.sqrt(query.shape[-1])", ""),
    (
        "attention",
        "cached queries taken for the first positions",
        "[keys - queries :]",
        "[:queries]",
    ),
    ("attention", "attention not causal where it is asked for", "is_causal=by_name, ", ""),
    (
        "attention",
        "a padding mask takes the place of the causal one",
        "past if mask is None else mask & past",
        "past if mask is None else mask",
    ),
    ("attention", "softmax over the queries", "lowest).softmax(dim=-1)", "lowest).softmax(dim=-2)"),
    (
        "attention",
        "causal mask off by one: the next token is seen",
        "device=device).tril()",
        "device=device).tril(1)",
    ),
    (
        "attention",
        "causal mask off by one: a token does not see itself",
        "device=device).tril()",
        "device=device).tril(-1)",
    ),
    ("attention", "causal mask the wrong way round", ".tril()", ".triu()"),
    (
        "attention",
        "padding mask off by one",
        "device=lengths.device) < lengths",
        "device=lengths.device) <= lengths",
    ),
    ("attention", "empty rows attend to everything", ".masked_fill(~mask, 0)", ""),
    ("attention", "mask after the softmax", "scores.masked_fill(~mask, lowest)", "scores"),
    ("attention", "bias taken away", "scores = scores + bias", "scores = scores - bias"),
    (
        "attention",
        "heads cut along the wrong axis",
        ".unflatten(-1, (-1, self.d_head)).transpose(1, 2)",
        ".unflatten(-1, (self.d_head, -1)).movedim(-1, 1)",
    ),
    (
        "attention",
        "heads joined without moving their axis back",
        "heads.transpose(1, 2).flatten(-2)",
        "heads.reshape(len(heads), heads.shape[2], -1)",
    ),
    (
        "attention",
        "groups of queries interleaved",
        "x.repeat_interleave(group_size, dim=1)",
        "x.repeat(1, group_size, 1, 1)",
    ),
    (
        "attention",
        "keys of cross-attention from the wrong side",
        "(self.key, context)",
        "(self.key, context[:, :1].expand_as(context))",
    ),
    (
        "attention",
        "query and key weights exchanged",
        "ours.query, ours.key, ours.value =",
        "ours.key, ours.query, ours.value =",
    ),
    (
        "attention",
        "dropout also in eval mode",
        "self.dropout if self.training else 0.0",
        "self.dropout",
    ),
    (
        "attention",
        "mask not for every head but for every text",
        "return mask[:, None] if mask",
        "return mask[:1, None] if mask",
    ),
    # Layers
    (
        "layers",
        "LayerNorm: eps outside the root",
        "centred * torch.rsqrt(variance + self.eps)",
        "centred / (variance.sqrt() + self.eps)",
    ),
    (
        "layers",
        "LayerNorm: variance with n - 1",
        "centred.square().mean(dim=-1, keepdim=True)",
        "x.var(dim=-1, keepdim=True)",
    ),
    (
        "layers",
        "LayerNorm: mean over the positions",
        "wide - wide.mean(dim=-1, keepdim=True)",
        "wide - wide.mean(dim=-2, keepdim=True)",
    ),
    ("layers", "LayerNorm: no shift", "y if self.bias is None else y + self.bias", "y"),
    (
        "layers",
        "squares of float16 in float16",
        "x.to(torch.promote_types(x.dtype, torch.float32))",
        "x",
    ),
    (
        "layers",
        "RMSNorm: eps outside the root",
        "wide * torch.rsqrt(mean_square + self.eps)",
        "wide / (mean_square.sqrt() + self.eps)",
    ),
    (
        "layers",
        "RMSNorm: sum instead of mean",
        "wide.square().mean(dim=-1, keepdim=True)",
        "wide.square().sum(dim=-1, keepdim=True)",
    ),
    (
        "layers",
        "SwiGLU: gate and value exchanged",
        "self.activation(self.gate(x)) * hidden",
        "self.activation(hidden) * self.gate(x)",
    ),
    ("layers", "feed-forward without its non-linearity", "self.activation(hidden)", "hidden"),
    ("layers", "GELU where ReLU belongs", '"relu": (F.relu, False)', '"relu": (F.gelu, False)'),
    # Positions
    (
        "positions",
        "sinusoidal: sine and cosine exchanged",
        "np.stack([np.sin(angles), np.cos(angles)]",
        "np.stack([np.cos(angles), np.sin(angles)]",
    ),
    (
        "positions",
        "sinusoidal: exponent not divided by d_model",
        "np.arange(0, d_model, 2) / d_model",
        "np.arange(0, d_model, 2) / (d_model // 2)",
    ),
    (
        "positions",
        "shift in the wrong direction",
        "np.sin(angles), -np.sin(angles)",
        "-np.sin(angles), np.sin(angles)",
    ),
    ("positions", "rotary: halves swapped", "torch.cat((-sin, sin)", "torch.cat((sin, -sin)"),
    (
        "positions",
        "rotary: neighbours paired where halves are meant",
        "x.roll(x.shape[-1] // 2, dims=-1)",
        "x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)",
    ),
    ("positions", "rotary: each pair twice as fast", "/ d_head\n", "/ (2 * d_head)\n"),
    (
        "positions",
        "ALiBi: near keys punished",
        "[:, None, None] * -distance",
        "[:, None, None] * distance",
    ),
    ("positions", "ALiBi: slopes start at 1", "-8 * heads / power", "-8 * (heads - 1) / power"),
    (
        "positions",
        "learned: one row off",
        "x + self.weight[: x.shape[1]]",
        "x + self.weight[1 :][: x.shape[1]]",
    ),
    (
        "positions",
        "T5: before and after exchanged",
        "one_way * (offset > 0)",
        "one_way * (offset < 0)",
    ),
    # Recurrent networks
    (
        "rnn",
        "LSTM: input and forget gate exchanged",
        "i, f, g, o = projected",
        "f, i, g, o = projected",
    ),
    ("rnn", "LSTM: no tanh on the cell", "o.sigmoid() * cell.tanh()", "o.sigmoid() * cell"),
    ("rnn", "LSTM: cell not kept", "f.sigmoid() * state[1] + ", ""),
    (
        "rnn",
        "the state is not handed on",
        "recurrent(state[0]), state)",
        "recurrent(state[0] * 0), state)",
    ),
    (
        "rnn",
        "reach counted from the first input",
        "gradient.norm(dim=-1).mean(dim=0).flip(0)",
        "gradient.norm(dim=-1).mean(dim=0)",
    ),
    (
        "rnn",
        "dropout also after the last layer",
        "self.dropout(x) if layer < self.num_layers - 1 else x",
        "self.dropout(x)",
    ),
    # The Transformer
    (
        "transformer",
        "no residual connection",
        "self.norm1(x + self.dropout(self.attention(x, mask=mask, past=past, causal=causal)))",
        "self.norm1(self.dropout(self.attention(x, mask=mask, past=past, causal=causal)))",
    ),
    (
        "transformer",
        "norm before the sum where it belongs after",
        "self.norm2(h + self.dropout(self.feed_forward(h)))",
        "h + self.dropout(self.norm2(self.feed_forward(h)))",
    ),
    ("transformer", "decoder sees the future", "context_mask, causal=True)", "context_mask)"),
    (
        "transformer",
        "padding of the source attended",
        "self.decoder(target, context, target_mask, source_mask)",
        "self.decoder(target, context, target_mask)",
    ),
    (
        "transformer",
        "encoder attends to padding",
        "self.encoder(source, source_mask)",
        "self.encoder(source)",
    ),
    (
        "transformer",
        "cross-attention looks at the target",
        "self.cross_attention(g, context, context_mask)",
        "self.cross_attention(g)",
    ),
    (
        "transformer",
        "pre-norm: what is normalised is added, not what came in",
        "h = x + self.dropout(",
        "h = self.norm1(x) + self.dropout(",
    ),
    (
        "transformer",
        "decoder: no residual connection around cross-attention",
        "h = g + self.dropout(self.cross_attention(self.norm2(g), context, context_mask))",
        "h = self.dropout(self.cross_attention(self.norm2(g), context, context_mask))",
    ),
    (
        "transformer",
        "last norm left out",
        "cls([DecoderBlock.from_torch(layer) for layer in layers], _norm(stack.norm))",
        "cls([DecoderBlock.from_torch(layer) for layer in layers])",
    ),
    (
        "transformer",
        "attention weights dropped as well",
        "ours.dropout = 0.0",
        "pass",
    ),
    # A model of today
    (
        "llama",
        "cached positions counted from zero",
        "torch.arange(start, end, device",
        "torch.arange(end - start, device",
    ),
    (
        "llama",
        "the next token is seen",
        "rotary=rotary, past=past, causal=True)",
        "rotary=rotary, past=past)",
    ),
    (
        "llama",
        "no last norm",
        "        x = self.norm(x)\n",
        "",
    ),
    (
        "generation",
        "cache overwrites its first positions",
        "keys[..., self.length :, :] = key",
        "keys[..., : key.shape[-2], :] = key",
    ),
    (
        "generation",
        "top-p leaves out the token that crosses p",
        "before >= p",
        "before + probabilities >= p",
    ),
    (
        "generation",
        "temperature multiplies",
        "logits.max()) / temperature",
        "logits.max()) * temperature",
    ),
    (
        "objectives",
        "the mask chosen as well as special tokens",
        "torch.tensor([mask_id, *special_ids]",
        "torch.tensor([mask_id]",
    ),
    (
        "objectives",
        "labels also where nothing was chosen",
        "token_ids.masked_fill(~chosen, IGNORED)",
        "token_ids",
    ),
    (
        "objectives",
        "hidden and replaced shares exchanged",
        "chosen & (fate < masked), mask_id",
        "chosen & (fate < replaced), mask_id",
    ),
    ("objectives", "nothing chosen is left as it is", "fate < masked + replaced", "fate < 1"),
    (
        "objectives",
        "a false neighbour may be of the same document",
        "i if i < start else i + len(document)",
        "i",
    ),
    (
        "objectives",
        "labels of pairs the wrong way round",
        "other if label else second",
        "second if label else other",
    ),
    (
        "objectives",
        "spans may touch",
        "kept + 1, count + 1, generator)",
        "kept + count, count + 1, generator)",
    ),
    ("objectives", "no final sentinel", "torch.cat([*targets, one[-1]])", "torch.cat(targets)"),
    (
        "objectives",
        "each span loses its first token when it is put back",
        "answer[a + 1 : b]",
        "answer[a + 2 : b]",
    ),
    (
        "t5",
        "decoder sees the future",
        "padding if context is None else causal_mask(x.shape[1], x.device)",
        "padding if context is None else None",
    ),
    (
        "t5",
        "padding of the source attended by the decoder",
        "block(x, bias, mask, context, padding)",
        "block(x, bias, mask, context)",
    ),
    (
        "t5",
        "encoder attends to padding",
        "mask = padding if context is None",
        "mask = None if context is None",
    ),
    ("t5", "no biases of distance", "mask=mask, bias=bias)", "mask=mask)"),
    ("t5", "decoder tells later keys apart", "bidirectional=not decoder", "bidirectional=True"),
    ("t5", "output not scaled", "x * self.config.d_model**-0.5 if self.config.scaled else x", "x"),
    (
        "t5",
        "queries copied without their factor",
        'config.d_head**0.5 if "attention.query" in name else 1',
        "1",
    ),
    ("t5", "labels not shifted", "(1, 0), value=start)", "(0, 1), value=start)"),
    ("t5", "a text goes on after its end", ".masked_fill(ended, self.config.start_id)", ""),
    (
        "t5",
        "cross-attention looks at itself",
        "self.cross_attention(self.cross_norm(x), context, context_mask)",
        "self.cross_attention(self.cross_norm(x))",
    ),
    # Training
    (
        "training",
        "targets not shifted",
        "token_ids[:, 1:].flatten().long()",
        "token_ids[:, :-1].flatten().long()",
    ),
    (
        "training",
        "dropout stays off after an evaluation",
        "            module.training = before",
        "            module.training = False",
    ),
    (
        "weights",
        "a weight of theirs is left behind",
        "sorted(weights.keys() - needed - set(ignored))",
        "[]",
    ),
    ("weights", "a weight is taken in another shape", "weight.shape != shapes[name]", "False"),
    # N-grams
    ("ngrams", "discount without its 2", "(once + 2 * twice)", "(once + twice)"),
    (
        "ngrams",
        "lower orders count how often, not after how many",
        "np.unique(ngrams % vocab_size**length, return_counts=True)",
        "np.unique(self._pack(token_ids, length), return_counts=True)",
    ),
    (
        "ngrams",
        "unknown tokens are impossible",
        "p = np.full(len(token_ids), 1 / self.vocab_size)",
        "p = np.full(len(token_ids), 1e-300)",
    ),
    (
        "ngrams",
        "what is taken goes by counts, not by different tokens",
        "np.diff(table.starts)[place]",
        "table.totals[place]",
    ),
    (
        "ngrams",
        "a token never seen in its context keeps some of another's count",
        "np.where(there, table.counts[found] - table.discount, 0)",
        "table.counts[found] - table.discount",
    ),
    (
        "ngrams",
        "an unseen context takes that of another",
        "np.where(seen, (kept + taken * lower) / table.totals[place], lower)",
        "(kept + taken * lower) / table.totals[place]",
    ),
    (
        "ngrams",
        "the first tokens of a context count, not the last",
        "context[len(context) - length :]",
        "context[:length]",
    ),
    (
        "ngrams",
        "nothing is left for the lower order",
        "p *= table.discount * len(kept)",
        "p *= 0",
    ),
    (
        "ngrams",
        "n-grams read backwards",
        "packed * self.vocab_size + token_ids[start : start + count]",
        "packed + self.vocab_size**start * token_ids[start : start + count]",
    ),
    ("ngrams", "too large n-grams overflow", "vocab_size**order >= 2**63", "vocab_size > 2**62"),
    # The ladder
    (
        "experiments.ladder",
        "the test is what was chosen by",
        '"test": texts[5::10]',
        '"test": texts[4::10]',
    ),
    ("experiments.ladder", "the test was learned from", "not in (4, 5)]", "not in (4,)]"),
    (
        "experiments.ladder",
        "counting is charged for a token more",
        "[1:].sum()  # as",
        ".sum()  # as",
    ),
    ("experiments.ladder", "bits of counting in nats", "float(nats / math.log(2)", "float(nats"),
    (
        "experiments.ladder",
        "as many steps for every size",
        "for each in (Variant(), variant)",
        "for each in (Variant(), Variant())",
    ),
    ("experiments.ladder", "no end of text between addresses", "encode(END + text", "encode(text"),
    (
        "experiments.ladder",
        "a number of steps that is not the record's",
        "seed, setup.checked, setup)[1]",
        "seed, None, setup)[1]",
    ),
    # The sweep
    (
        "experiments.sweep",
        "the test is the oldest addresses alone",
        "len(ids) // 1000)[::8]",
        "len(ids) // 1000)[:8]",
    ),
    ("experiments.sweep", "loss in bits", "round(bits * math.log(2), 5)", "round(bits, 5)"),
    (
        "experiments.sweep",
        "a budget of tokens, not of computation",
        "round(budget / flops(config(size, setup), setup.batch * setup.context))",
        "round(budget / 1e8)",
    ),
    (
        "experiments.sweep",
        "a seed of the weights alone",
        "torch.Generator().manual_seed(seed)",
        "torch.Generator()",
    ),
    (
        "experiments.sweep",
        "every seed has the same weights",
        "torch.manual_seed(seed)\n",
        "torch.manual_seed(0)\n",
    ),
    (
        "experiments.sweep",
        "tokens counted in texts",
        "steps * setup.batch * setup.context,",
        "steps * setup.batch,",
    ),
    (
        "experiments.stories",
        "the verb agrees with the box",
        '"VERB": "are" if many',
        '"VERB": "are" if boxes',
    ),
    (
        "experiments.stories",
        "a sum is one too many",
        "NUMBERS[first + second + 2]",
        "NUMBERS[first + second + 3]",
    ),
    ("experiments.stories", "a skill is looked for one word early", "1 + p for p in", "p for p in"),
    (
        "experiments.emergence",
        "digits the other way round",
        "10 ** torch.arange(count)",
        "10 ** torch.arange(count).flip(0)",
    ),
    ("experiments.emergence", "one right digit is a right sum", "right.all(1)", "right.any(1)"),
    (
        "experiments.acceptability",
        "the box agrees with the subject",
        '"box" if many else "boxes"',
        '"boxes" if many else "box"',
    ),
    (
        "experiments.acceptability",
        "tuning changes the pre-trained model",
        "copy.deepcopy(bert)",
        "bert",
    ),
    # What makes models smaller
    (
        "sparse",
        "the window is one too wide",
        "(back >= 0) & (back < window)).repeat",
        "(back >= 0) & (back <= window)).repeat",
    ),
    (
        "sparse",
        "the window sees ahead",
        "return (back >= 0) & (back < _at",
        "return (back.abs() < _at",
    ),
    (
        "sparse",
        "a position counts in the window and in the stride",
        "> 0  # distance 0",
        ">= 0  # distance 0",
    ),
    (
        "sparse",
        "the first block sees padding",
        "seen[0, :, :block] = False",
        "seen[0, :, :0] = False",
    ),
    ("sparse", "scores are not scaled", "scale = math.sqrt(query.shape[-1])", "scale = 1.0"),
    (
        "flash",
        "the sum of earlier exponentials is not put right",
        "shrink * total + weights",
        "total + weights",
    ),
    ("flash", "earlier values are not put right", "shrink * output + weights", "output + weights"),
    (
        "flash",
        "the largest score is that of the block",
        "torch.maximum(largest, scores.amax(-1, keepdim=True))",
        "scores.amax(-1, keepdim=True)",
    ),
    ("lora", "alpha is not divided by the rank", "alpha / rank", "alpha"),
    (
        "lora",
        "both matrices start at random",
        "weight.new_zeros(linear.out_features, rank)",
        "weight.new_ones(linear.out_features, rank)",
    ),
    ("lora", "the layer learns too", "linear.requires_grad_(False), alpha", "linear, alpha"),
    ("lora", "merged without the change", "self.linear.weight + self.change", "self.linear.weight"),
    ("distillation", "no square of the temperature", "return temperature**2 * F", "return F"),
    (
        "distillation",
        "the teacher is compared with the student",
        "F.kl_div(ours, theirs",
        "F.kl_div(theirs, ours",
    ),
    ("distillation", "the mean over numbers, not over rows", '"batchmean"', '"mean"'),
    (
        "moe",
        "weights of the chosen do not sum to 1",
        "weights = weights / weights.sum(-1, keepdim=True)",
        "weights = weights * 1.0",
    ),
    ("moe", "weights are always normalized", "if self.normalized:", "if True:"),
    (
        "moe",
        "offsets weigh as well as choose",
        "weights = probs.gather",
        "weights = (probs + self.offsets).gather",
    ),
    (
        "moe",
        "offsets run the wrong way",
        "(counts.mean() - counts).sign()",
        "(counts - counts.mean()).sign()",
    ),
    (
        "moe",
        "an expert has room for all tokens",
        "token[:room], place[:room]",
        "token[:], place[:]",
    ),
    (
        "moe",
        "the balance loss forgets how many experts there are",
        "return experts * (shares",
        "return (shares",
    ),
    ("quantization", "a code more than fits", "/ (2 ** (bits - 1) - 1)", "/ 2 ** (bits - 1)"),
    (
        "quantization",
        "halves are rounded to even",
        "np.floor(np.abs(scaled))\n    size += np.abs(scaled) - size >= 0.5",
        "np.rint(np.abs(scaled))\n    size += 0 * size",
    ),
    (
        "quantization",
        "numbers before the scale",
        'np.concatenate((scale.astype("<f2").view(np.uint8), codes), 1)',
        'np.concatenate((codes, scale.astype("<f2").view(np.uint8)), 1)',
    ),
    (
        "quantization",
        "values that are not evenly spaced in probability",
        "(last - 0.5) * i / many",
        "(last - 0.5) * i / (many + 1)",
    ),
    (
        "quantization",
        "each weight goes to the value above",
        "((values[:-1] + values[1:]) / 2)",
        "values[:-1]",
    ),
    ("unmasking", "few masks count no more than many", "(lost / rates).mean()", "lost.mean()"),
    (
        "unmasking",
        "tokens that are seen count too",
        "found.masked_fill(hidden != mask_id, 0)",
        "found",
    ),
    ("unmasking", "the mask may be drawn", ".masked_fill(never, -math.inf)", ""),
    (
        "unmasking",
        "all sets of masks weigh the same for their number",
        "(size * math.comb(seq, size))",
        "math.comb(seq, size)",
    ),
    (
        "unmasking",
        "what is there is written over",
        "first = first.masked_fill(~masked, -math.inf)",
        "first = first + 0.0",
    ),
    ("unmasking", "masks are left", "keepdim=True) / left)", "keepdim=True) / steps)"),
    ("unmasking", "the least sure first", "probs.amax(-1) if", "-probs.amax(-1) if"),
    (
        "unmasking",
        "what is drawn knows nothing of what was",
        "among = _alike(texts, written)",
        "among = _alike(texts, start)",
    ),
    (
        "speculative",
        "guesses are kept too often",
        "if u * q[token] >= p[token]:",
        "if u * q[token] > 2 * p[token]:",
    ),
    (
        "speculative",
        "in place of a refused guess, the model's own draw",
        "rest = (rest - drawn_by[kept]).clamp(min=0)",
        "rest = rest.clamp(min=0)",
    ),
    (
        "speculative",
        "the cache keeps refused guesses",
        "self.cache.length = shared",
        "self.cache.length = max(shared, len(self.seen) - 1)",
    ),
    (
        "privacy",
        "the batch is cut, not each record",
        "factors = (clip / norms).clamp(max=1.0)",
        "factors = (clip / norms.norm()).clamp(max=1.0).expand(len(norms))",
    ),
    (
        "privacy",
        "noise does not grow with the clip",
        "guarantee.noise_multiplier * guarantee.clip",
        "guarantee.noise_multiplier",
    ),
    (
        "privacy",
        "the true size of a batch is given away",
        "(q * rows[0] or 1.0)",
        "max(len(chosen), 1)",
    ),
    (
        "privacy",
        "records are read more often than accounted",
        "< q).nonzero()",
        "< q**0.5).nonzero()",
    ),
    (
        "privacy",
        "the old conversion to epsilon",
        "rho + np.log1p(-1 / alphas) - (log_delta",
        "rho - (log_delta",
    ),
    ("federated", "clients count alike", "(size / total)", "(1 / len(sizes))"),
    ("federated", "both of a pair add their secret", "1 if client == pair[0] else -1", "1"),
    ("memorization", "equal candidates are not counted", "(1 + equal) / 2", "1"),
    ("memorization", "what fills up a text counts", "(losses * text[:, 1:])", "losses"),
]
