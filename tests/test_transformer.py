"""`llmbook.transformer` against PyTorch's own layer, and by what each position may depend on."""

import copy
import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmbook.attention import causal_mask
from llmbook.layers import LayerNorm
from llmbook.transformer import Decoder, DecoderBlock, Encoder, EncoderDecoder, TransformerBlock

BATCH, SEQ, D_MODEL, NUM_HEADS, D_FF = 3, 7, 32, 4, 64
SHAPE = (BATCH, SEQ, D_MODEL)


@pytest.fixture(params=[False, True], ids=["post-norm", "pre-norm"])
def norm_first(request: pytest.FixtureRequest) -> bool:
    """Both places of the layer norm."""
    return bool(request.param)


def torch_layer(**options: Any) -> nn.TransformerEncoderLayer:
    """PyTorch's layer in float64 whose norms and biases are not the trivial ones."""
    torch.manual_seed(0)
    options = {"dtype": torch.float64, "batch_first": True, **options}
    layer = nn.TransformerEncoderLayer(D_MODEL, NUM_HEADS, D_FF, **options)
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5)
    return layer.eval()


def block(**options: Any) -> TransformerBlock:
    """A small block of ours in float64 and eval mode."""
    torch.manual_seed(0)
    return TransformerBlock(D_MODEL, NUM_HEADS, D_FF, **options).double().eval()


def inputs(*shape: int) -> Tensor:
    """Standard normal float64 numbers that want a gradient."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*(shape or SHAPE), generator=generator, dtype=torch.float64).requires_grad_()


def causal() -> Tensor:
    """Each position may attend to itself and to those before it."""
    return causal_mask(SEQ)


def padding() -> Tensor:
    """Items of seven, five and two positions."""
    return torch.arange(SEQ).expand(BATCH, 1, SEQ) < torch.tensor([7, 5, 2]).view(BATCH, 1, 1)


MASKS: dict[str, tuple[Tensor | None, dict[str, Tensor]]] = {
    "all": (None, {}),
    "causal": (causal(), {"src_mask": ~causal()}),
    "padding": (padding(), {"src_key_padding_mask": ~padding().squeeze(1)}),
    "both": (
        causal() & padding(),
        {"src_mask": ~causal(), "src_key_padding_mask": ~padding().squeeze(1)},
    ),
}


def assert_equal(ours: TransformerBlock, layer: nn.TransformerEncoderLayer, masks: str) -> None:
    """Forward, gradient of the input, and gradient of every weight agree to rounding."""
    mask, their_masks = MASKS[masks]
    x = inputs()
    their_x = x if layer.self_attn.batch_first else x.transpose(0, 1)
    our_y, their_y = ours(x, mask), layer(their_x, **their_masks)
    if not layer.self_attn.batch_first:
        their_y = their_y.transpose(0, 1)
    torch.testing.assert_close(our_y, their_y, rtol=0, atol=1e-12)

    # Weighted, because the plain sum of a layer norm's output hardly depends on its input.
    direction = torch.linspace(-1, 1, our_y.numel(), dtype=our_y.dtype).view_as(our_y)
    our_x, *our_gradients = torch.autograd.grad(our_y, (x, *ours.parameters()), direction)
    their_x, *their_gradients = torch.autograd.grad(their_y, (x, *layer.parameters()), direction)
    torch.testing.assert_close(our_x, their_x, rtol=0, atol=1e-12)
    carrier = copy.deepcopy(layer)  # takes their gradients to our names, as if they were weights
    with torch.no_grad():
        for parameter, gradient in zip(carrier.parameters(), their_gradients, strict=True):
            parameter.copy_(gradient)
    expected = TransformerBlock.from_torch(carrier).parameters()
    for mine, theirs in zip(our_gradients, expected, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_block_equals_torch(norm_first: bool, batch_first: bool, masks: str) -> None:
    """With the same weights, ours is `nn.TransformerEncoderLayer`, forward and backward."""
    layer = torch_layer(norm_first=norm_first, batch_first=batch_first)
    assert_equal(TransformerBlock.from_torch(layer), layer, masks)


@pytest.mark.parametrize(
    "activation", ["gelu", F.relu, nn.ReLU(), nn.GELU()], ids=["name", "function", "ReLU", "GELU"]
)
def test_epsilon_and_activation_carry_over(activation: Any) -> None:
    """A large layer-norm epsilon is not lost, and the activation may be a function or a module."""
    layer = torch_layer(layer_norm_eps=0.5, activation=activation)
    assert_equal(TransformerBlock.from_torch(layer), layer, "all")


def test_training_without_dropout_equals_torch(norm_first: bool) -> None:
    """In training mode the two part only where they drop."""
    layer = torch_layer(norm_first=norm_first, dropout=0.0).train()
    assert_equal(TransformerBlock.from_torch(layer), layer, "causal")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False])
def test_from_torch_keeps_the_layers_state(dtype: torch.dtype, training: bool) -> None:
    """Dtype, device, dropout rate, norm placement and training mode come along."""
    layer = torch_layer(dtype=dtype, dropout=0.3, norm_first=True).train(training)
    ours = TransformerBlock.from_torch(layer)
    assert {parameter.dtype for parameter in ours.parameters()} == {dtype}
    assert {parameter.device.type for parameter in ours.parameters()} == {"cpu"}
    assert all(parameter.requires_grad for parameter in ours.parameters())
    assert all(module.training is training for module in ours.modules())
    assert ours.dropout.p == 0.3
    assert ours.norm_first


def test_from_torch_copies() -> None:
    """Training one of the two leaves the other as it was, and no random number is drawn."""
    layer = torch_layer()
    state = torch.get_rng_state()
    ours = TransformerBlock.from_torch(layer)
    assert torch.equal(torch.get_rng_state(), state)
    theirs = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    mine = {parameter.untyped_storage().data_ptr() for parameter in ours.parameters()}
    assert len(mine) == 16  # the three projections share no storage either
    assert not mine & theirs
    before = ours(inputs()).clone()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    assert torch.equal(ours(inputs()), before)


def test_from_torch_follows_the_device() -> None:
    """A layer on another device gives a block there (`meta` stands for all of them)."""
    ours = TransformerBlock.from_torch(torch_layer(device="meta"))
    assert {parameter.device.type for parameter in ours.parameters()} == {"meta"}


def test_fresh_block_has_the_published_number_of_parameters() -> None:
    """Attention 4d² + 4d, feed-forward 2df + f + d, two norms 4d."""
    d, f = 512, 2048
    count = sum(parameter.numel() for parameter in TransformerBlock(d, 8, f).parameters())
    assert count == (4 * d * d + 4 * d) + (2 * d * f + f + d) + 4 * d == 3_152_384


def test_causal_mask_hides_the_future(norm_first: bool) -> None:
    """Changing a position changes itself and what comes after, never what came before."""
    ours, x = block(norm_first=norm_first), inputs().detach()
    changed = x.clone()
    changed[:, 4] *= -1  # adding a constant would be undone by the layer norm
    moved = (ours(x, causal()) - ours(changed, causal())).abs().amax(dim=(0, 2))
    assert not moved[:4].any()
    assert (moved[4:] > 1e-3).all()
    assert (ours(x) - ours(changed)).abs().amax(dim=(0, 2)).gt(1e-3).all()  # no mask: all move


def test_items_of_a_batch_do_not_mix(norm_first: bool) -> None:
    """Changing one item leaves the others bit for bit."""
    ours, x = block(norm_first=norm_first), inputs().detach()
    changed = x.clone()
    changed[1] *= -1
    moved = (ours(x) - ours(changed)).abs().amax(dim=(1, 2))
    assert moved[1] > 1e-3
    assert not moved[[0, 2]].any()


def test_without_a_mask_order_does_not_matter(norm_first: bool) -> None:
    """Shuffled positions give shuffled outputs: a block alone knows no order."""
    ours, x = block(norm_first=norm_first), inputs()
    order = torch.randperm(SEQ, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x[:, order]), ours(x)[:, order])


def test_padding_mask_equals_leaving_the_padding_out(norm_first: bool) -> None:
    """What stands in padded positions reaches no other position."""
    ours, x = block(norm_first=norm_first), inputs()
    torch.testing.assert_close(ours(x, padding())[2, :2], ours(x[2:, :2])[0])


def test_dropout_acts_in_training_alone(norm_first: bool) -> None:
    """Two calls differ while training and are the same in eval mode."""
    ours, x = block(norm_first=norm_first, dropout=0.5), inputs()
    assert torch.equal(ours(x), ours(x))
    ours.train()
    assert not torch.equal(ours(x), ours(x))


def test_dropout_is_on_sublayers_and_not_on_attention_weights() -> None:
    """The paper's place; PyTorch's layer has it in both, which is not copied."""
    model = torch_model(dropout=0.5).train()
    ours, x = EncoderDecoder.from_torch(model), inputs()
    for block in (*ours.encoder.blocks, *ours.decoder.blocks):
        assert torch.equal(block.attention(x), block.attention(x))
    assert not torch.equal(ours.encoder(x), ours.encoder(x))


def test_dropping_every_sublayer_leaves_the_residual_stream() -> None:
    """Dropout sits on the sub-layers' outputs: at rate 1, a pre-norm block passes x through."""
    x = inputs()
    assert torch.equal(block(norm_first=True, dropout=1.0).train()(x), x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_query_without_keys_takes_up_nothing(dtype: torch.dtype, norm_first: bool) -> None:
    """Its heads give zeros, so only the output projection's bias is added; no NaN either way."""
    ours, x = block(norm_first=norm_first).to(dtype), inputs().to(dtype)
    mask = causal()
    mask[3] = False
    attended = ours.attention(x, mask=mask)
    torch.testing.assert_close(attended[:, 3], ours.attention.out.bias.expand(BATCH, D_MODEL))
    y = ours(x, mask)
    assert y.isfinite().all()
    gradients = torch.autograd.grad(y.square().sum(), tuple(ours.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_block_trains(norm_first: bool) -> None:
    """A few steps of Adam halve the loss on a fixed target, so gradients reach what they should."""
    ours, x = block(norm_first=norm_first, dropout=0.0).train(), inputs().detach()
    target = x.roll(1, dims=1)
    optimiser = torch.optim.Adam(ours.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = (ours(x, causal()) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((10, 3, 8), "num_heads must divide d_model, got d_model=10 and num_heads=3"),
        ((0, 1, 8), "must be positive, got 0, 1 and 1"),
        ((8, -2, 8), "must be positive, got 8, -2 and -2"),
        ((8, 2, 0), "d_ff must be positive, got 0"),
    ],
)
def test_impossible_sizes_are_named(sizes: tuple[int, int, int], message: str) -> None:
    """Sizes that make no block are refused when it is built, not when it runs."""
    with pytest.raises(ValueError, match=message):
        TransformerBlock(*sizes)


@pytest.mark.plain
@pytest.mark.parametrize("shape", [(SEQ, D_MODEL), (BATCH, SEQ, 31), (1, BATCH, SEQ, D_MODEL)])
def test_wrong_input_shapes_are_named(shape: tuple[int, ...]) -> None:
    """The error shows the shape that is needed and the one that came."""
    message = re.escape(f"x must have the shape (batch, seq, d_model = 32), got {shape}")
    with pytest.raises(ValueError, match=message):
        block()(inputs(*shape))


@pytest.mark.plain
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.zeros(SEQ, SEQ), r"mask must be boolean .*, got dtype torch.float32"),
        (torch.ones(SEQ, SEQ, dtype=torch.int), r"mask must be boolean .*, got dtype torch.int32"),
        (
            torch.ones(BATCH, SEQ, dtype=torch.bool),
            r"mask of shape \(3, 7\) does not broadcast to the scores' \(3, 7, 7\); "
            r"a causal mask has the shape \(query, key\), a padding mask \(batch, 1, key\)",
        ),
        (torch.ones(2, 1, SEQ, dtype=torch.bool), r"\(2, 1, 7\) does not broadcast"),
        (torch.ones(BATCH, 1, SEQ, SEQ, dtype=torch.bool), r"\(3, 1, 7, 7\) does not broadcast"),
    ],
)
def test_wrong_masks_are_named(mask: Tensor, message: str) -> None:
    """A mask of numbers could be additive, so it is refused; so is one that does not fit."""
    with pytest.raises(ValueError, match=message):
        block()(inputs(), mask)


def test_from_torch_names_what_it_does_not_support() -> None:
    """A layer that ours cannot equal is refused instead of half copied."""
    with pytest.raises(ValueError, match=r"activation must be relu or .* gelu, got SiLU\(\)"):
        TransformerBlock.from_torch(torch_layer(activation=nn.SiLU()))


@pytest.mark.plain
@pytest.mark.parametrize("build", [lambda: nn.Linear(2, 2), lambda: None, block])
def test_from_torch_refuses_other_things(build: Callable[[], Any]) -> None:
    """Anything but PyTorch's encoder layer is a TypeError that names what came."""
    thing = build()
    with pytest.raises(TypeError, match=f"TransformerEncoderLayer, got {type(thing).__name__}"):
        TransformerBlock.from_torch(thing)


def test_from_torch_keeps_absent_biases_absent(norm_first: bool) -> None:
    """A layer made with bias=False is equalled too, forward and backward."""
    layer = torch_layer(bias=False, norm_first=norm_first)
    assert_equal(TransformerBlock.from_torch(layer), layer, "all")
    assert not any(
        "bias" in name for name, _ in TransformerBlock.from_torch(layer).named_parameters()
    )


def test_fresh_block_takes_epsilon_biases_and_another_norm() -> None:
    """What `from_torch` copies can be asked for, and torch's fused norm is ours."""
    fresh = block(bias=False, norm_eps=0.5, norm_first=True)
    layer = torch_layer(bias=False, layer_norm_eps=0.5, norm_first=True)
    fresh.load_state_dict(TransformerBlock.from_torch(layer).state_dict())
    assert_equal(fresh, layer, "causal")
    fused = block(bias=False, norm_eps=0.5, norm_first=True, norm=nn.LayerNorm)
    assert isinstance(fused.norm2, nn.LayerNorm)
    fused.load_state_dict(fresh.state_dict())
    assert_equal(fused, layer, "causal")


def test_a_block_continues_from_what_it_has_seen(norm_first: bool) -> None:
    """With the keys and values of earlier positions, later ones come out as from the whole."""
    ours, x = block(norm_first=norm_first), inputs().detach()
    seen: list[tuple[Tensor, Tensor]] = []

    def past(key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((key, value))
        keys, values = zip(*seen, strict=True)
        return torch.cat(keys, dim=-2), torch.cat(values, dim=-2)

    parts = [ours(x[:, :4], causal()[:4, :4], past), ours(x[:, 4:], causal()[4:], past)]
    torch.testing.assert_close(torch.cat(parts, dim=1), ours(x, causal()))


# --- decoder, stacks, and the whole ----------------------------------------------------------

SOURCE = 5
READ = torch.arange(SOURCE) < torch.tensor([[5], [3], [1]])  # where the source is no padding
WRITTEN = torch.arange(SEQ) < torch.tensor([[7], [7], [4]])


def torch_model(**options: Any) -> nn.Transformer:
    """PyTorch's whole Transformer in float64 whose norms and biases are not the trivial ones."""
    torch.manual_seed(0)
    options = {"dtype": torch.float64, "batch_first": True, "dropout": 0.0, **options}
    with warnings.catch_warnings():  # it says that pre-norm stacks take no nested tensors
        warnings.simplefilter("ignore")
        model = nn.Transformer(D_MODEL, NUM_HEADS, 2, 3, D_FF, **options)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=0.5)
    return model


def assert_same(ours: Tensor, theirs: Tensor, *leaves: Tensor) -> None:
    """Outputs, and what they push their inputs to, agree to rounding."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)
    direction = torch.linspace(-1, 1, ours.numel(), dtype=ours.dtype).view_as(ours)
    for mine, yours in zip(
        torch.autograd.grad(ours, leaves, direction, retain_graph=True),
        torch.autograd.grad(theirs, leaves, direction, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, yours, rtol=0, atol=1e-11)


def test_decoder_block_equals_torch(norm_first: bool) -> None:
    """With the same weights, ours is `nn.TransformerDecoderLayer`, with and without masks."""
    layer = torch_model(norm_first=norm_first, activation="gelu").decoder.layers[0]
    assert isinstance(layer, nn.TransformerDecoderLayer)
    ours, x, context = DecoderBlock.from_torch(layer), inputs(), inputs(BATCH, SOURCE, D_MODEL)
    assert_same(ours(x, context), layer(x, context), x, context)
    mask = causal() & WRITTEN[:, None]
    theirs = layer(
        x,
        context,
        tgt_mask=~causal(),
        tgt_key_padding_mask=~WRITTEN,
        memory_key_padding_mask=~READ,
    )
    assert_same(ours(x, context, mask, READ[:, None]), theirs, x, context)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_encoder_decoder_equals_torch(
    norm_first: bool, batch_first: bool, bias: bool, masked: bool
) -> None:
    """`model(source, target)` is `nn.Transformer` with a causal target, forward and backward."""
    model = torch_model(norm_first=norm_first, batch_first=batch_first, bias=bias)
    ours = EncoderDecoder.from_torch(model)
    source, target = inputs(BATCH, SOURCE, D_MODEL), inputs()
    their_inputs = [t if batch_first else t.transpose(0, 1) for t in (source, target)]
    masks = {
        "src_key_padding_mask": ~READ,
        "memory_key_padding_mask": ~READ,
        "tgt_key_padding_mask": ~WRITTEN,
    }
    theirs = model(*their_inputs, tgt_mask=~causal(), **(masks if masked else {}))
    theirs = theirs if batch_first else theirs.transpose(0, 1)
    our_masks = {"source_mask": READ, "target_mask": WRITTEN} if masked else {}
    assert_same(ours(source, target, **our_masks), theirs, source, target)


def test_stacks_equal_torch() -> None:
    """Encoder and decoder alone, with a last norm and without."""
    model = torch_model()
    x, context = inputs(), inputs(BATCH, SOURCE, D_MODEL)
    for norm in (model.encoder.norm, None):
        model.encoder.norm = model.decoder.norm = norm
        encoder, decoder = Encoder.from_torch(model.encoder), Decoder.from_torch(model.decoder)
        assert (encoder.norm is None) is (norm is None)
        assert_same(encoder(x, causal()), model.encoder(x, ~causal()), x)
        assert_same(decoder(x, context), model.decoder(x, context, ~causal()), x, context)


def whole(**options: Any) -> EncoderDecoder:
    """A small model of ours in float64 and eval mode."""
    torch.manual_seed(0)
    return EncoderDecoder(D_MODEL, NUM_HEADS, D_FF, num_layers=2, **options).double().eval()


def test_a_later_target_moves_no_earlier_output(norm_first: bool) -> None:
    """The target side is causal without being told so."""
    ours = whole(norm_first=norm_first)
    source, target = inputs(BATCH, SOURCE, D_MODEL).detach(), inputs().detach()
    changed = target.clone()
    changed[:, 4] *= -1
    moved = (ours(source, target) - ours(source, changed)).abs().amax(dim=(0, 2))
    assert not moved[:4].any()
    assert (moved[4:] > 1e-4).all()


def test_every_output_depends_on_the_source_but_not_on_its_padding(norm_first: bool) -> None:
    """Changing a token of the source moves all of the target, changing its padding nothing."""
    ours = whole(norm_first=norm_first)
    source, target = inputs(BATCH, SOURCE, D_MODEL).detach(), inputs().detach()
    padded, read = source.clone(), source.clone()
    padded[1, 3:] *= -1
    read[1, 1] *= -1
    before = ours(source, target, READ)
    assert torch.equal(ours(padded, target, READ), before)
    moved = (ours(read, target, READ) - before).abs().amax(-1)
    assert (moved[1] > 1e-5).all()
    assert not moved[[0, 2]].any()


def test_padding_in_the_target_moves_no_token_of_it() -> None:
    """On the left, where a causal mask alone would let it through."""
    ours, source, target = whole(), inputs(BATCH, SOURCE, D_MODEL).detach(), inputs().detach()
    left = torch.arange(SEQ).expand(BATCH, SEQ) >= 2
    changed = target.clone()
    changed[:, :2] *= -1
    moved = ours(source, changed, target_mask=left) - ours(source, target, target_mask=left)
    assert not moved[:, 2:].any()
    alone = ours(source, target[:, 2:])
    torch.testing.assert_close(ours(source, target, target_mask=left)[:, 2:], alone)


def test_whole_model_has_the_published_number_of_parameters() -> None:
    """Six and six blocks of the paper's base model, and the two last norms that torch adds."""
    d, f = 512, 2048
    attention, network, norm = 4 * d * d + 4 * d, 2 * d * f + f + d, 2 * d
    expected = 6 * (attention + network + 2 * norm) + 6 * (2 * attention + network + 3 * norm)
    with torch.device("meta"):
        ours, theirs = EncoderDecoder(d, 8, f), nn.Transformer(d, 8, batch_first=True)
    count = [sum(p.numel() for p in model.parameters()) for model in (ours, theirs)]
    assert count == [expected + 2 * norm] * 2 == [44_140_544] * 2


def test_stacks_keep_state_and_draw_no_random_number() -> None:
    """Mode, dtype and dropout come along through all levels."""
    model = torch_model(dropout=0.3, dtype=torch.float32).eval()
    state = torch.get_rng_state()
    ours = EncoderDecoder.from_torch(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert not any(module.training for module in ours.modules())
    assert {m.p for m in ours.modules() if isinstance(m, nn.Dropout)} == {0.3}
    assert len(ours.encoder.blocks) == 2
    assert len(ours.decoder.blocks) == 3


@pytest.mark.plain
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (DecoderBlock, "TransformerDecoderLayer"),
        (Encoder, "TransformerEncoder"),
        (Decoder, "TransformerDecoder"),
        (EncoderDecoder, "Transformer"),
    ],
)
def test_stacks_refuse_other_things(kind: Any, expected: str) -> None:
    """Each names what it needs and what came."""
    with pytest.raises(TypeError, match=f"need an nn.{expected}, got Linear"):
        kind.from_torch(nn.Linear(2, 2))


def test_a_stack_needs_a_block() -> None:
    """An empty stack is a mistake, not an identity."""
    for kind in (Encoder, Decoder):
        with pytest.raises(ValueError, match="blocks must hold at least one block"):
            kind([], LayerNorm(8))
    with pytest.raises(ValueError, match="blocks must hold at least one block"):
        EncoderDecoder(8, 2, 16, num_layers=0)


@pytest.mark.plain
def test_context_of_another_width_or_batch_is_named() -> None:
    """The decoder says which of its two inputs does not fit."""
    ours, x = whole(), inputs()
    with pytest.raises(ValueError, match=r"context must have x's batch of 3, got 2"):
        ours.decoder(x, x[:2])
    with pytest.raises(ValueError, match=r"context must have the shape .*, got \(3, 7, 8\)"):
        ours.decoder(x, x[..., :8])
    with pytest.raises(ValueError, match="mask must be boolean"):
        ours(x, x, torch.ones(BATCH, SEQ))
