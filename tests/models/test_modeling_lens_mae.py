"""The LensMAE network: masking without leaks, positions, heads that share an encoder, freezing, compilation."""

import io

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Trainer, TrainingArguments

from lens_transformers import (
    LensMAE,
    LensMAEConfig,
    LensMAEForClassification,
    LensMAEForPreTraining,
    LensMAEForSuperResolution,
    LensMAEModel,
)
from lens_transformers.models.lens_mae import modeling_lens_mae
from lens_transformers.models.lens_mae.modeling_lens_mae import (
    LensMAEAttention,
    LensMAELinear,
    eager_attention_forward,
    pad_to_blocks,
)


SMALL = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "decoder_hidden_size": 16,
    "decoder_num_hidden_layers": 1,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 32,
    "sr_decoder_hidden_size": 16,
    "sr_decoder_num_hidden_layers": 1,
    "sr_decoder_num_attention_heads": 2,
    "sr_hidden_size": 8,
    "sr_num_blocks": 1,
    "sr_encoder_channels": 4,
}
STEMS = {
    "patch": {},
    "conv": {
        "stem_type": "conv",
        "stem_hidden_size": 4,
        "mask_unit_size": 2,
        "use_cls_token": False,
        "pooling": "mean_std_max",
    },
}
HEADS = [LensMAEModel, LensMAEForPreTraining, LensMAEForClassification, LensMAEForSuperResolution]


@pytest.fixture(params=STEMS)
def config(request):
    return LensMAEConfig(**SMALL, **STEMS[request.param], num_labels=3)


def conv_config(**overrides):
    return LensMAEConfig(**{**SMALL, **STEMS["conv"], "num_labels": 3, **overrides})


def recorded_inputs(model, is_recorded):
    """What the next pass gives to those modules, by their names."""
    given = {}
    for name, module in model.named_modules():
        if is_recorded(name, module):
            module.register_forward_hook(lambda _, inputs, __, name=name: given.update({name: inputs[0]}))
    return given


# Masking


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("height_width", [(32, 32), (64, 48), (51, 37), (17, 33)])
def test_masked_pixels_change_no_bit_of_the_encoders_output(config, height_width, training):
    model = LensMAEForPreTraining(config).train(training)
    images = torch.randn(2, 1, *height_width)
    blocks_high, blocks_wide = (-(-side // config.mask_block_size) for side in height_width)
    noise = torch.rand(2, blocks_high * blocks_wide)
    seen = model.lens_mae(images, noise=noise, mask_ratio=0.6)

    hidden = model.unpatchify(seen.mask[..., None].expand(-1, -1, config.patch_size**2), height_width).bool()
    assert 0.2 < hidden.float().mean() < 1
    changed = torch.where(hidden, 100 * torch.randn_like(images), images)
    seen_again = model.lens_mae(changed, noise=noise, mask_ratio=0.6)
    assert torch.equal(seen.last_hidden_state, seen_again.last_hidden_state)
    assert torch.equal(seen.pooler_output, seen_again.pooler_output)


def test_visible_pixels_do_change_the_encoders_output(config):
    model = LensMAEForPreTraining(config).eval()
    images, noise = torch.randn(2, 1, 32, 32), torch.rand(2, (32 // config.mask_block_size) ** 2)
    seen = model.lens_mae(images, noise=noise, mask_ratio=0.5)
    hidden = model.unpatchify(seen.mask[..., None].expand(-1, -1, config.patch_size**2)).bool()
    changed = torch.where(hidden, images, images + 1)
    assert not torch.equal(
        seen.last_hidden_state, model.lens_mae(changed, noise=noise, mask_ratio=0.5).last_hidden_state
    )


def test_the_blocks_with_the_largest_noise_are_hidden(config):
    side = 32 // config.mask_block_size
    noise = torch.arange(side**2, dtype=torch.float32).flip(0)[None]
    outputs = LensMAEModel(config)(torch.rand(1, 1, 32, 32), noise=noise, mask_ratio=0.5)
    mask = outputs.mask.view(4, 4)
    assert mask[:2].all() and not mask[2:].any()
    num_visible = outputs.last_hidden_state.shape[1] - int(config.use_cls_token)
    assert num_visible == 8
    assert (outputs.ids_restore.sort().values == torch.arange(16)).all()


def test_only_pretraining_masks_and_the_others_see_every_patch(config):
    images = torch.rand(2, 1, 32, 32)
    num_tokens = 16 + int(config.use_cls_token)
    for training in (False, True):
        outputs = LensMAEModel(config).train(training)(images)
        assert outputs.last_hidden_state.shape == (2, num_tokens, 32)
        assert outputs.mask is None and outputs.ids_restore is None
        for head in (LensMAEForClassification, LensMAEForSuperResolution):
            outputs = head(config).train(training)(images, output_hidden_states=True)
            assert outputs.hidden_states[-1].shape[1] == num_tokens
    assert LensMAEForPreTraining(config)(images).mask.mean() == 0.75


def test_mask_ratio_of_the_call_wins_over_the_configuration(config):
    assert LensMAEForPreTraining(config)(torch.rand(1, 1, 64, 64), mask_ratio=0.5).mask.mean() == 0.5


def test_without_masking_pretraining_encodes_what_the_encoder_does():
    # Of the patch stem only: a convolutional stem sees a whole image in one case, and blocks of it in the other.
    config = LensMAEConfig(**SMALL)
    model = LensMAEForPreTraining(config).eval()
    images = torch.rand(2, 1, 32, 32)
    whole = model.lens_mae(images).last_hidden_state
    noise = torch.arange(16, dtype=torch.float32).expand(2, -1)
    torch.testing.assert_close(whole, model.lens_mae(images, noise=noise, mask_ratio=0).last_hidden_state)


def test_the_loss_counts_hidden_pixels_inside_the_image_alone(config):
    model = LensMAEForPreTraining(config).eval()
    images = torch.randn(2, 1, 37, 44)
    outputs = model(images)
    predicted = model.unpatchify(outputs.logits, (37, 44))
    hidden = model.unpatchify(outputs.mask[..., None].expand(-1, -1, config.patch_size**2), (37, 44))
    torch.testing.assert_close(outputs.loss, ((predicted - images).square() * hidden).sum() / hidden.sum())


@pytest.mark.parametrize("norm_pix_loss", [False, True])
def test_reconstruct_pastes_predictions_among_the_visible_pixels(config, norm_pix_loss):
    config.norm_pix_loss = norm_pix_loss
    model = LensMAEForPreTraining(config).eval()
    images = 5 + torch.randn(2, 1, 37, 44)
    outputs = model(images)
    reconstruction = model.reconstruct(images, outputs)
    hidden = model.unpatchify(outputs.mask[..., None].expand(-1, -1, config.patch_size**2), (37, 44)).bool()
    assert torch.equal(reconstruction[~hidden], images[~hidden])
    assert not torch.isclose(reconstruction[hidden], images[hidden]).all()
    if norm_pix_loss:  # a patch's own mean is given back
        assert abs(reconstruction.mean() - 5) < 1


@pytest.mark.parametrize("bands", [1, 3])
def test_unpatchify_undoes_patchify(bands):
    model = LensMAEForPreTraining(conv_config(num_channels=bands))
    images = torch.rand(2, bands, 50, 33)
    assert torch.equal(model.unpatchify(model.patchify(images), (50, 33)), images)


def test_padding_reflects_inside_the_last_block():
    image = torch.arange(20.0).view(1, 1, 1, 20).expand(1, 1, 20, 20)
    padded = pad_to_blocks(image, 16)
    assert padded.shape == (1, 1, 32, 32)
    assert padded[0, 0, 0, 20:].tolist() == [18, 17, 16, 17, 18, 19, 18, 17, 16, 17, 18, 19]
    assert torch.equal(padded[0, 0].T[20:, :20], padded[0, 0, :20, 20:].T)


def test_padding_a_single_pixel_of_a_block_repeats_it():
    image = torch.arange(17.0).view(1, 1, 1, 17).expand(1, 1, 16, 17)
    assert pad_to_blocks(image, 16)[0, 0, 0, 16:].tolist() == 16 * [16.0]


# Partial decoding


def cross_config(config, prediction_ratio):
    return LensMAEConfig.from_dict({**config.to_dict(), "prediction_ratio": prediction_ratio})


def test_predicting_a_fraction_gives_the_same_loss_on_those_patches_as_predicting_all(config):
    model = LensMAEForPreTraining(cross_config(config, 0.4))
    images = torch.randn(2, 1, 37, 44)
    noise = torch.rand(2, -(-37 // config.mask_block_size) * -(-44 // config.mask_block_size))
    everything = model.eval()(images, noise=noise)
    # The decoder alone: batch norm of the stem would make the encoder another one.
    model.decoder.train()
    some = model(images, noise=noise)

    predicted = (some.logits != 0).any(dim=-1)
    patches_per_block = config.mask_unit_size**2
    num_hidden_blocks = everything.mask.sum(dim=1) / patches_per_block
    assert torch.equal(predicted.sum(dim=1), (0.4 * num_hidden_blocks).ceil() * patches_per_block)
    assert not (predicted & ~everything.mask.bool()).any()
    torch.testing.assert_close(some.logits[predicted], everything.logits[predicted])
    torch.testing.assert_close(some.loss, model._reconstruction_loss(images, everything.logits, predicted.float()))


def test_training_decodes_hidden_patches_alone_and_loses_nothing(config):
    model = LensMAEForPreTraining(config).eval()
    images, noise = torch.randn(2, 1, 32, 32), torch.rand(2, (32 // config.mask_block_size) ** 2)
    everything = model(images, noise=noise)
    model.decoder.train()
    hidden_alone = model(images, noise=noise)
    torch.testing.assert_close(hidden_alone.logits, everything.logits * everything.mask[..., None])
    torch.testing.assert_close(hidden_alone.loss, everything.loss)


def test_which_patches_are_predicted_changes_from_step_to_step(config):
    model = LensMAEForPreTraining(cross_config(config, 0.25)).train()
    counts = sum((model(torch.rand(4, 1, 32, 32)).logits != 0).any(dim=-1).sum(dim=0) for _ in range(40))
    assert counts.min() > 0


def test_evaluation_predicts_every_hidden_patch_and_reconstructs(config):
    model = LensMAEForPreTraining(cross_config(config, 0.25)).eval()
    images = 5 + torch.rand(2, 1, 32, 32)
    outputs = model(images)
    assert torch.equal((outputs.logits != 0).any(dim=-1), outputs.mask.bool())
    hidden = model.unpatchify(outputs.mask[..., None].expand(-1, -1, config.patch_size**2)).bool()
    assert torch.equal(model.reconstruct(images, outputs)[~hidden], images[~hidden])


def test_partial_decoding_trains_every_weight_and_is_kept_by_the_checkpoint(config, tmp_path):
    model = LensMAEForPreTraining(cross_config(config, 0.25)).train()
    model(torch.rand(4, 1, 32, 32)).loss.backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]
    model.save_pretrained(tmp_path)
    loaded = LensMAEForPreTraining.from_pretrained(tmp_path).eval()
    noise = torch.rand(2, (32 // config.mask_block_size) ** 2)
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(loaded(images, noise=noise).logits, model.eval()(images, noise=noise).logits)
    LensMAEForClassification.from_pretrained(tmp_path)


def test_partial_decoding_learns_to_look_at_the_visible_patches(config):
    torch.manual_seed(0)
    model = LensMAEForPreTraining(cross_config(config, 0.5)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    # Each image is of one brightness, which nothing but its visible patches tells.
    images = torch.linspace(-1, 1, 16).view(-1, 1, 1, 1).expand(-1, 1, 32, 32)
    for _ in range(100):
        optimizer.zero_grad()
        loss = model(images).loss
        loss.backward()
        optimizer.step()
    assert loss < images.var() / 2


# Positions


def expected_positions(side, hidden_size):
    quarter = hidden_size // 4
    table = torch.zeros(side, side, hidden_size, dtype=torch.float64)
    for row in range(side):
        for column in range(side):
            for k in range(quarter):
                frequency = 10000 ** (-k / quarter)
                for part, angle in enumerate((column * frequency, row * frequency)):
                    table[row, column, 2 * part * quarter + k] = torch.sin(torch.tensor(angle, dtype=torch.float64))
                    table[row, column, (2 * part + 1) * quarter + k] = torch.cos(
                        torch.tensor(angle, dtype=torch.float64)
                    )
    return table.view(1, side**2, hidden_size).float()


def position_tables(model):
    return [module.table for name, module in model.named_modules() if name.endswith("position_embeddings")]


def test_positions_are_there_after_construction_loading_and_emptying(config, tmp_path):
    expected = [expected_positions(4, 32), expected_positions(4, 16)]
    model = LensMAEForPreTraining(config)
    LensMAEModel(config).save_pretrained(tmp_path)
    loaded = LensMAEForPreTraining.from_pretrained(tmp_path)
    with torch.device("meta"):
        emptied = LensMAEForPreTraining(config)
    emptied.to_empty(device="cpu")
    halved = LensMAEForPreTraining(config).half().float()
    for variant, tolerance in ((model, 1e-6), (loaded, 1e-6), (emptied, 1e-6), (halved, 1e-6)):
        for table, values in zip(position_tables(variant), expected, strict=True):
            torch.testing.assert_close(table, values, rtol=0, atol=tolerance)


def test_positions_are_neither_parameters_nor_saved(config):
    model = LensMAEForPreTraining(config)
    assert not [name for name, _ in model.named_parameters() if "position" in name]
    assert not [name for name in model.state_dict() if "position" in name]


def test_positions_of_another_size_span_the_same_field(config):
    positions = LensMAEModel(config).embeddings.position_embeddings
    native = positions((4, 4)).view(4, 4, -1)
    finer = positions((8, 12)).view(8, 12, -1)
    assert finer.shape == (8, 12, 32)
    # Halfway between the finer positions lies the native one; the slowest frequencies are nearly linear.
    slowest = slice(7, 8)
    torch.testing.assert_close(finer[:2, 0, 16:][:, slowest].mean(0), native[0, 0, 16:][slowest], rtol=0, atol=1e-3)
    assert torch.equal(positions((8, 12)), positions((8, 12)))


@pytest.mark.parametrize("kind", ["sincos", "learned"])
def test_a_patch_has_the_same_position_whether_it_is_masked_or_not(kind):
    # 72 pixels are nine patches, a row of them short of whole blocks of two.
    config = LensMAEConfig.from_size("tiny", image_size=72, stem_type="patch", position_embedding_type=kind)
    for image_size in (72, 88):
        embeddings = LensMAEModel(config).eval().embeddings
        images = torch.randn(2, 1, image_size, image_size)
        seen, _, ids_restore = embeddings(images, mask_ratio=0.0)
        side = image_size // 8
        placed = seen.gather(1, ids_restore[..., None].expand_as(seen)).unflatten(1, (side + 1, side + 1))
        torch.testing.assert_close(placed[:, :side, :side].flatten(1, 2), embeddings(images)[0])


@pytest.mark.parametrize("prediction_ratio", [None, 0.5])
def test_images_of_which_nothing_is_hidden_have_no_loss_and_cannot_be_trained_on(config, prediction_ratio):
    config.prediction_ratio = prediction_ratio
    model = LensMAEForPreTraining(config)
    images = torch.rand(2, 1, 32, 32)
    for given in ({"pixel_values": images, "mask_ratio": 0.0}, {"pixel_values": images[..., :8, :8]}):
        for is_training, return_loss in ((True, False), (False, True)):
            with pytest.raises(ValueError, match="No block of these images is hidden"):
                model.train(is_training)(**given, return_loss=return_loss)
        assert model(**given, return_loss=False).logits.isfinite().all()


def test_learned_positions_start_small_are_trained_and_saved(tmp_path):
    model = LensMAEForPreTraining(LensMAEConfig(**SMALL, position_embedding_type="learned"))
    for table in position_tables(model):
        assert 0.01 < table.std() < 0.03
    model(torch.rand(2, 1, 32, 32)).loss.backward()
    assert all(table.grad.abs().sum() > 0 for table in position_tables(model))
    model.save_pretrained(tmp_path)
    loaded = LensMAEForPreTraining.from_pretrained(tmp_path)
    assert all(map(torch.equal, position_tables(loaded), position_tables(model)))


def test_learned_positions_of_another_size_are_those_around_them():
    positions = LensMAEModel(LensMAEConfig(**SMALL, position_embedding_type="learned")).embeddings.position_embeddings
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    with torch.no_grad():
        positions.table[..., 0], positions.table[..., 1] = rows.flatten(), columns.flatten()
        other = positions((4, 8)).view(4, 8, -1)
    # Rows stay what they are; columns lie a quarter on either side of the native ones, away from the edges.
    torch.testing.assert_close(other[..., 0], rows.repeat_interleave(2, dim=1), rtol=0, atol=1e-5)
    torch.testing.assert_close(other[0, 2:6, 1], torch.tensor([0.75, 1.25, 1.75, 2.25]), rtol=0, atol=0.1)


def test_every_weight_is_finite_after_loading_with_missing_keys(config, tmp_path):
    LensMAEModel(config).save_pretrained(tmp_path)
    for head in HEADS:
        model = head.from_pretrained(tmp_path)
        for name, value in model.state_dict().items():
            assert torch.isfinite(value).all() and value.float().abs().max() < 100, name


# One encoder under every head


def test_a_pretraining_checkpoint_loads_into_every_head_and_only_its_head_is_missing(config, tmp_path):
    pretrained = LensMAEForPreTraining(config)
    pretrained.save_pretrained(tmp_path)
    prefixes = {
        LensMAEModel: (),
        LensMAEForClassification: ("norm.", "classifier."),
        LensMAEForSuperResolution: ("super_resolution.",),
    }
    for head, own in prefixes.items():
        model, report = head.from_pretrained(tmp_path, output_loading_info=True)
        assert not report["unexpected_keys"] and not report["mismatched_keys"]
        assert set(report["missing_keys"]) == {name for name in model.state_dict() if own and name.startswith(own)}
        encoder = pretrained.lens_mae.state_dict()
        for name, value in model.base_model.state_dict().items():
            assert torch.equal(value, encoder[name]), name


def test_the_auto_map_of_every_checkpoint_names_every_head(config, tmp_path):
    for head in HEADS:
        head(config).save_pretrained(tmp_path / head.__name__)
        auto_map = LensMAEConfig.from_pretrained(tmp_path / head.__name__).auto_map
        assert auto_map["AutoModel"] == "modeling_lens_mae.LensMAEModel"
        assert auto_map["AutoModelForImageToImage"] == "modeling_lens_mae.LensMAEForSuperResolution"
        assert len(auto_map) == 5


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("bands", "height", "width"), [(1, 8, 8), (1, 75, 75), (4, 33, 50), (2, 32, 32)])
def test_any_size_of_at_least_a_patch_and_any_number_of_bands_is_taken(head, bands, height, width):
    for stem in STEMS.values():
        config = LensMAEConfig(**SMALL, **stem, num_channels=bands)
        model = head(config).eval()
        images = torch.rand(2, bands, height, width)
        # Of a single block nothing can be hidden.
        outputs = model(images, **({"return_loss": height > 8} if head is LensMAEForPreTraining else {}))
        if head is LensMAEForSuperResolution:
            assert outputs.reconstruction.shape == (2, bands, 2 * height, 2 * width)
        elif head is LensMAEForPreTraining:
            assert model.reconstruct(images, outputs).shape == images.shape


def test_large_passes_forward_and_backward_at_224_pixels():
    model = LensMAE(LensMAEConfig.from_size("large", mask_ratio=0.75))
    loss = model(torch.rand(1, 1, 224, 224)).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert model.lens_mae.layers[0].attention.q_proj.weight.grad.abs().sum() > 0


def test_pooling_is_what_its_name_says():
    tokens = torch.randn(2, 17, 32)
    pool = LensMAEModel(LensMAEConfig(**SMALL)).pool
    assert torch.equal(pool(tokens), tokens[:, 0])
    mean = LensMAEModel(LensMAEConfig(**SMALL, pooling="mean")).pool(tokens)
    torch.testing.assert_close(mean, tokens[:, 1:].mean(1))
    mean, deviation, maximum = LensMAEModel(conv_config()).pool(tokens).split(32, dim=1)
    torch.testing.assert_close(mean, tokens.mean(1))
    torch.testing.assert_close(deviation, tokens.std(1, correction=0))
    assert torch.equal(maximum, tokens.amax(1))


def test_a_classifier_of_the_class_token_leaves_out_what_it_does_not_need_and_loses_nothing(config):
    model = LensMAEForClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight)
    images, labels = torch.rand(2, 1, 32, 32), torch.tensor([0, 2])
    gradients, losses, seen = [], [], []
    model.lens_mae.layernorm.register_forward_hook(lambda *call: seen.append(call[-1].shape[1]))
    for output_hidden_states in (False, True):
        model.zero_grad()
        outputs = model(images, labels=labels, output_hidden_states=output_hidden_states)
        outputs.loss.backward()
        losses.append(outputs.loss)
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    num_tokens = 16 + int(config.use_cls_token)
    assert seen == [1 if config.pooling == "cls" else num_tokens, num_tokens]
    assert {state.shape[1] for state in outputs.hidden_states} == {num_tokens}
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)


def test_a_new_classifier_holds_all_classes_for_equally_likely_also_on_a_pretrained_encoder(config, tmp_path):
    LensMAEForPreTraining(config).save_pretrained(tmp_path)
    for model in (LensMAEForClassification(config), LensMAEForClassification.from_pretrained(tmp_path)):
        model.train()
        outputs = model(torch.randn(2, 1, 32, 32), labels=torch.tensor([0, 2]))
        assert torch.equal(outputs.logits, torch.zeros(2, 3))
        outputs.loss.backward()
        assert model.classifier.weight.grad.abs().sum() > 0


def test_pooling_equal_tokens_has_a_finite_gradient():
    tokens = torch.ones(2, 16, 32, requires_grad=True)
    LensMAEModel(conv_config()).pool(tokens).sum().backward()
    assert torch.isfinite(tokens.grad).all()


def test_a_batch_of_one_can_be_trained_on():
    model = LensMAEForClassification(conv_config()).train()
    loss = model(torch.rand(1, 1, 32, 32), labels=torch.tensor([1])).loss
    loss.backward()
    assert torch.isfinite(loss)


# Super-resolution


@pytest.mark.parametrize("upscale", [2, 3, 4])
@pytest.mark.parametrize("stem", STEMS)
def test_super_resolution_starts_as_bicubic_bit_for_bit(upscale, stem):
    config = LensMAEConfig(
        **SMALL,
        **STEMS[stem],
        upscale=upscale,
        sr_pixel_mean=0.06,
        sr_pixel_std=0.13,
        sr_encoder_stretch=0.02,
        sr_encoder_mean=1.5,
        sr_encoder_std=0.9,
    )
    images = torch.randn(2, 1, 25, 31)
    reconstruction = LensMAEForSuperResolution(config).train()(images).reconstruction
    bicubic = torch.nn.functional.interpolate(images, scale_factor=upscale, mode="bicubic", align_corners=False)
    assert torch.equal(reconstruction, bicubic)


def test_training_reaches_the_encoder_after_the_zeros_have_moved():
    model = LensMAEForSuperResolution(conv_config())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, targets = torch.rand(2, 1, 16, 16), torch.rand(2, 1, 32, 32)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(images, labels=targets).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert model.lens_mae.layers[0].mlp.fc1.weight.grad.abs().sum() > 0


def test_super_resolution_keeps_the_flux_scale():
    # The same network on the same images in other units: its constants in those units give the same result.
    torch.manual_seed(0)
    model = LensMAEForSuperResolution(conv_config(sr_pixel_mean=0.1, sr_pixel_std=0.2, sr_encoder_stretch=0.02))
    with torch.no_grad():
        for parameter in model.super_resolution.parameters():
            parameter.normal_(std=0.1)
    model.eval()
    images = torch.rand(1, 1, 24, 24)
    reference = model(images).reconstruction
    model.config.sr_pixel_mean, model.config.sr_pixel_std = 100.0, 200.0
    model.config.sr_encoder_stretch = 20.0
    torch.testing.assert_close(model(1000 * images).reconstruction, 1000 * reference, rtol=1e-4, atol=1e-2)


def test_per_band_constants_are_applied_to_their_band():
    config = conv_config(num_channels=2, sr_skip=False, sr_pixel_mean=[1.0, -3.0], sr_pixel_std=[1.0, 2.0])
    reconstruction = LensMAEForSuperResolution(config)(torch.rand(1, 2, 16, 16)).reconstruction
    assert torch.equal(reconstruction[0, :, 0, 0], torch.tensor([1.0, -3.0]))


def test_images_of_other_bands_are_refused_though_constants_a_band_would_make_them_more():
    config = conv_config(num_channels=3, sr_pixel_mean=[0, 0, 0], sr_pixel_std=[1.0, 2.0, 3], sr_encoder_stretch=1)
    with pytest.raises(ValueError, match=r"takes 3 band\(s\) \(`num_channels`\), but `pixel_values` has 1"):
        LensMAEForSuperResolution(config)(torch.rand(1, 1, 16, 16))


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("head", [LensMAEForClassification, LensMAEForSuperResolution])
def test_every_convolution_has_its_channels_last(head, bands):
    model = head(conv_config(num_channels=bands))
    given = recorded_inputs(model, lambda _, module: isinstance(module, torch.nn.Conv2d))
    model(torch.rand(2, bands, 16, 16))
    assert given
    assert {name for name, features in given.items() if features.stride(1) != 1} == set()


def test_the_assignments_head_has_no_path_for_pixels():
    config = LensMAEConfig(**{**SMALL, "sr_decoder_hidden_size": 32}, sr_head="staged", sr_skip=False)
    model = LensMAEForSuperResolution(config)
    upsampler = model.super_resolution.upsampler
    assert len(upsampler.stages) == 4
    assert not hasattr(upsampler, "conv_in")
    assert model(torch.rand(2, 1, 25, 30)).reconstruction.shape == (2, 1, 50, 60)


@pytest.mark.parametrize("sr_loss", ["charbonnier", "l1", "mse"])
def test_super_resolution_losses_are_in_units_of_the_pixel_deviation(sr_loss):
    model = LensMAEForSuperResolution(conv_config(sr_loss=sr_loss, sr_pixel_std=0.5))
    images = torch.rand(1, 1, 16, 16)
    reconstruction = model(images).reconstruction
    loss = model(images, labels=reconstruction - 1.0).loss
    expected = {"charbonnier": (4 + 1e-4) ** 0.5, "l1": 2.0, "mse": 4.0}[sr_loss]
    assert loss.item() == pytest.approx(expected, rel=1e-5)


# Freezing


def train_a_little(model, tmp_path, batch_size=4, accumulation=1, optimizer="adamw_torch", max_steps=3, **batch):
    rows = [{name: value[index] for name, value in batch.items()} for index in range(8)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        max_steps=max_steps,
        optim=optimizer,
        learning_rate=0.1,
        max_grad_norm=0.0,
        report_to=[],
        remove_unused_columns=False,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
    )
    Trainer(model, arguments, train_dataset=rows).train()


@pytest.mark.parametrize("part", ["patch_embeddings", "encoder"])
def test_what_is_frozen_stays_bit_equal_through_training_of_a_loaded_checkpoint(config, part, tmp_path):
    original = LensMAEForClassification(config)
    getattr(original, f"freeze_{part}")()
    original.save_pretrained(tmp_path / "saved")
    model, _ = LensMAEForClassification.from_pretrained(tmp_path / "saved", output_loading_info=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train_a_little(model, tmp_path, pixel_values=torch.randn(8, 1, 32, 32), labels=torch.arange(8) % 3)

    prefix = {"patch_embeddings": "lens_mae.embeddings.patch_embeddings.", "encoder": "lens_mae."}[part]
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and not [name for name in changed if name.startswith(prefix)]
    assert "classifier.weight" in changed
    if part == "patch_embeddings":
        assert any(name.startswith("lens_mae.layers.") for name in changed)


def test_what_is_frozen_last_is_all_that_is_frozen(config, tmp_path):
    model = LensMAEForClassification(config)
    model.freeze_encoder()
    model.freeze_patch_embeddings()
    model.save_pretrained(tmp_path)
    for variant in (model, LensMAEForClassification.from_pretrained(tmp_path).train()):
        frozen = {name for name, parameter in variant.named_parameters() if not parameter.requires_grad}
        assert frozen and all(name.startswith("lens_mae.embeddings.patch_embeddings.") for name in frozen)
        assert variant.lens_mae.layers.training


def test_unfreezing_trains_everything_again(config, tmp_path):
    model = LensMAEForClassification(config)
    model.freeze_encoder()
    model.unfreeze()
    model.save_pretrained(tmp_path)
    loaded = LensMAEForClassification.from_pretrained(tmp_path)
    assert all(parameter.requires_grad for parameter in loaded.parameters())


# How it runs


@pytest.mark.parametrize("head", [LensMAEForPreTraining, LensMAEForClassification, LensMAEForSuperResolution])
def test_accumulating_gradients_is_training_on_the_larger_batch(head, tmp_path):
    rows = {"pixel_values": torch.randn(8, 1, 32, 32)}
    if head is LensMAEForPreTraining:
        rows["noise"] = torch.rand(8, 16)
    elif head is LensMAEForClassification:
        rows["labels"] = torch.arange(8) % 3
    else:
        rows["labels"] = torch.randn(8, 1, 64, 64)
    weights = []
    for batch_size, accumulation in ((8, 1), (2, 4)):
        torch.manual_seed(0)
        model = head(LensMAEConfig(**SMALL, num_labels=3))
        train_a_little(
            model, tmp_path, batch_size=batch_size, accumulation=accumulation, optimizer="sgd", max_steps=1, **rows
        )
        weights.append(model.state_dict())
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("head", HEADS)
def test_eager_and_fused_attention_agree(head, config):
    fused = head(config).eval()
    eager = head(config).eval()
    eager.load_state_dict(fused.state_dict())
    fused.set_attn_implementation("sdpa")
    eager.set_attn_implementation("eager")
    inputs = {"pixel_values": torch.rand(2, 1, 32, 32)}
    if head is LensMAEForPreTraining:
        inputs["noise"] = torch.rand(2, (32 // config.mask_block_size) ** 2)
    for one, other in zip(fused(**inputs).to_tuple(), eager(**inputs).to_tuple(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.fixture
def onednn_products(monkeypatch):
    """The shapes of what oneDNN multiplies, on whichever processor."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("needs oneDNN, which torch for this processor lacks")
    multiply, shapes = modeling_lens_mae._onednn_linear, []

    def recorded(rows, weight, bias=None):
        shapes.append((tuple(rows.shape), tuple(weight.shape)))
        return multiply(rows, weight, bias)

    monkeypatch.setattr(modeling_lens_mae, "_prefers_onednn", lambda: True)
    monkeypatch.setattr(modeling_lens_mae, "_onednn_linear", recorded)
    return shapes


def large_linear(out_features=128, bias=True):
    torch.manual_seed(0)
    return LensMAELinear(256, out_features, bias=bias)


# Three of four tokens of two images: in memory they lie apart.
def large_tokens():
    return torch.randn(2, 400, 256, generator=torch.Generator().manual_seed(1))[:, :300]


@pytest.mark.parametrize(("out_features", "num_products"), [(128, 3), (512, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_large_linear_map_by_onednn_is_that_of_torch_with_its_gradients(
    out_features, num_products, bias, onednn_products
):
    linear = large_linear(out_features, bias)
    tokens = large_tokens().requires_grad_()
    output = linear(tokens)
    output.square().mean().backward()
    assert len(onednn_products) == num_products
    assert output.is_contiguous() and linear.weight.grad.is_contiguous()

    exact = large_linear(out_features, bias).double()
    exact_tokens = large_tokens().double().requires_grad_()
    expected = exact(exact_tokens)
    expected.square().mean().backward()
    torch.testing.assert_close(output.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(tokens.grad.double(), exact_tokens.grad, rtol=1e-5, atol=1e-8)
    for own, right in zip(linear.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(own.grad.double(), right.grad, rtol=1e-5, atol=1e-8)


def test_a_frozen_linear_map_has_no_gradient_made(onednn_products):
    linear = large_linear().requires_grad_(False)
    tokens = large_tokens().requires_grad_()
    output = linear(tokens)
    kept = [tensor for tensor in output.grad_fn.saved_tensors if tensor is not None]
    assert len(kept) == 1 and kept[0].data_ptr() == linear.weight.data_ptr()
    output.sum().backward()
    assert len(onednn_products) == 2 and linear.weight.grad is linear.bias.grad is None
    torch.testing.assert_close(tokens.grad[0, 0], linear.weight.sum(0), rtol=1e-5, atol=1e-5)

    linear.requires_grad_(True)
    linear(large_tokens()).sum().backward()  # of images no gradient is asked
    assert len(onednn_products) == 4 and linear.weight.grad is not None


def test_the_gradient_of_a_gradient_is_that_of_torch(onednn_products):
    linear = large_linear()

    def second_gradient(function):
        tokens = large_tokens().requires_grad_()
        (gradient,) = torch.autograd.grad(function(tokens).pow(3).mean(), tokens, create_graph=True)
        return torch.autograd.grad(gradient.pow(2).sum(), linear.weight)[0]

    own = second_gradient(linear)
    assert onednn_products
    expected = second_gradient(lambda tokens: torch.nn.functional.linear(tokens, linear.weight, linear.bias))
    torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-10)


def with_autocast(linear, tokens):
    with torch.autocast("cpu", torch.bfloat16):
        return linear(tokens).float()


def with_counted_operations(linear, tokens):
    with FlopCounterMode(display=False) as counter:
        output = linear(tokens)
    assert counter.get_total_flops() == 2 * tokens.numel() * linear.out_features
    return output


def exported_for_any_number_of_tokens(linear, tokens):
    few_tokens = torch.zeros(2, 290, tokens.shape[-1])
    exported = torch.export.export(linear, (few_tokens,), dynamic_shapes=({1: torch.export.Dim("num_tokens")},))
    return exported.module()(tokens.contiguous())


def switched_off(linear, tokens):
    with torch.backends.mkldnn.flags(enabled=False, allow_tf32=False):
        return linear(tokens)


def as_a_parametrized_weight(linear, tokens):
    torch.nn.utils.parametrizations.weight_norm(linear)
    return linear(tokens)


LEFT_TO_TORCH = {
    "small": lambda linear, tokens: torch.cat([linear(tokens[:, i : i + 100]) for i in range(0, 300, 100)], dim=1),
    "double": lambda linear, tokens: linear.double()(tokens.double()).float(),
    "autocast": with_autocast,
    "counted": with_counted_operations,
    "exported": exported_for_any_number_of_tokens,
    "compiled": lambda linear, tokens: torch.compile(linear, backend="eager", fullgraph=True)(tokens),
    "traced": lambda linear, tokens: torch.jit.trace(linear, tokens, check_trace=False)(tokens),
    "transformed": lambda linear, tokens: torch.func.vmap(linear)(tokens),
    "parametrized": as_a_parametrized_weight,
    "switched off": switched_off,
}


# Of torch: that tracing is deprecated, and oneDNN's flags know of GPUs.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("way", LEFT_TO_TORCH)
def test_a_linear_map_is_left_to_torch_where_onednn_is_slower_or_unknown(way, onednn_products):
    linear, tokens = large_linear(), large_tokens()
    expected = torch.nn.functional.linear(tokens, linear.weight, linear.bias)
    output = LEFT_TO_TORCH[way](linear, tokens)
    assert not onednn_products
    tolerance = 1e-2 if way == "autocast" else 1e-5
    torch.testing.assert_close(output, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("processor", "instructions", "has_mkl", "prefers"),
    [
        ("AMD EPYC 9B14", "AVX512", True, True),
        ("AMD EPYC 7742", "AVX2", True, False),
        ("AMD EPYC 9B14", "AVX512", False, False),
        ("Intel(R) Xeon(R) Processor", "AVX512", True, False),
        (None, "DEFAULT", False, False),
    ],
)
def test_onednn_is_preferred_where_it_was_measured_to_be_faster(
    processor, instructions, has_mkl, prefers, onednn_products, monkeypatch
):
    capabilities = {} if processor is None else {"cpu_name": processor}
    monkeypatch.undo()  # the fixture's answer; what it skips for stands
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: has_mkl)
    assert modeling_lens_mae._prefers_onednn.__wrapped__() is prefers


def test_every_linear_map_of_tokens_takes_the_faster_library(config):
    for head in HEADS:
        plain = {
            name
            for name, module in head(config).named_modules()
            if isinstance(module, torch.nn.Linear) and not isinstance(module, LensMAELinear)
        }
        assert plain <= {"classifier"}


@pytest.mark.parametrize("num_keys", [5, 70])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_attention_of_short_and_long_rows_is_exact_to_its_type_with_its_gradient(dtype, num_keys):
    states = [torch.randn(2, 3, number, 8, dtype=dtype, requires_grad=True) for number in (4, num_keys, num_keys)]
    output, weights = eager_attention_forward(torch.nn.Identity(), *states, None, scaling=0.5)
    assert output.dtype == weights.dtype == dtype
    output.square().sum().backward()

    exact = [each.detach().double().requires_grad_() for each in states]
    expected = (exact[0] @ exact[1].mT * 0.5).softmax(dim=-1) @ exact[2]
    expected.square().sum().backward()
    precision = {"rtol": 30 * torch.finfo(dtype).eps, "atol": 30 * torch.finfo(dtype).eps}
    torch.testing.assert_close(output.transpose(1, 2).double(), expected, **precision)
    for own, right in zip(states, exact, strict=True):
        torch.testing.assert_close(own.grad.double(), right.grad, **precision)


@pytest.mark.parametrize("head", HEADS)
def test_every_layer_takes_the_attention_that_is_set(head, config):
    model = head(config)
    model.set_attn_implementation("eager")
    attentions = [module for module in model.modules() if isinstance(module, LensMAEAttention)]
    assert {attention.config._attn_implementation for attention in attentions} == {"eager"}


@pytest.mark.parametrize("head", HEADS)
def test_a_replica_on_another_gpu_gives_the_same(head, config):
    """Where Trainer sees several GPUs and no launcher it makes replicas, whose weights are no parameters."""
    model = head(config).eval()
    inputs = {"pixel_values": torch.rand(2, 1, 32, 32)}
    if head is LensMAEForPreTraining:
        inputs["noise"] = torch.rand(2, (32 // config.mask_block_size) ** 2)
    replicas = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, replica in replicas.items():
        for name, child in module._modules.items():
            if child is not None:
                setattr(replica, name, replicas[child])
        for name, value in {**module._parameters, **module._buffers}.items():
            vars(replica)[name] = None if value is None else value.detach()
    with torch.no_grad():
        outputs, expected = replicas[model](**inputs), model(**inputs)
    torch.testing.assert_close(outputs.to_tuple(), expected.to_tuple(), rtol=0, atol=0)


def test_attention_weights_come_with_eager_attention(config):
    config._attn_implementation = "eager"
    outputs = LensMAEModel(config)(torch.rand(2, 1, 32, 32), output_attentions=True)
    num_tokens = 16 + int(config.use_cls_token)
    assert [tuple(attention.shape) for attention in outputs.attentions] == 2 * [(2, 2, num_tokens, num_tokens)]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_and_stays_close(head, dtype, config):
    model = head(config).eval()
    if head is LensMAEForClassification:
        torch.nn.init.normal_(model.classifier.weight)
    images = torch.rand(2, 1, 32, 32)
    noise = {"noise": torch.rand(2, (32 // config.mask_block_size) ** 2)} if head is LensMAEForPreTraining else {}
    with torch.no_grad():
        reference = model(images, **noise).to_tuple()
        halved = model.to(dtype)(images.to(dtype), **noise).to_tuple()
    for one, other in zip(reference, halved, strict=True):
        if one.is_floating_point():
            assert torch.isfinite(other.float()).all()
            assert (one - other.float()).abs().max() < 0.1 * one.abs().max()


@pytest.mark.parametrize("head", HEADS)
def test_shapes_are_known_without_any_memory(head, config):
    with torch.device("meta"):
        outputs = head(config)(torch.rand(2, 1, 32, 32))
    assert all(output.is_meta for output in outputs.to_tuple())


@pytest.mark.parametrize("prediction_ratio", [None, 0.5])
def test_autocast_casts_the_tokens_that_attention_maps_once(prediction_ratio):
    model = LensMAEForPreTraining(conv_config(prediction_ratio=prediction_ratio))
    given = recorded_inputs(model, lambda name, _: name.endswith(("k_proj", "v_proj")))
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.rand(2, 1, 32, 32))
    keys = {name: tokens for name, tokens in given.items() if name.endswith("k_proj")}
    assert len(keys) == 3
    for name, tokens in keys.items():
        assert tokens.dtype == torch.bfloat16
        assert tokens.data_ptr() == given[name.replace("k_proj", "v_proj")].data_ptr()


def test_gradient_checkpointing_gives_the_same_gradients(config):
    images, noise = torch.rand(2, 1, 32, 32), torch.rand(2, (32 // config.mask_block_size) ** 2)
    gradients = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        model = LensMAEForPreTraining(config).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        model(images, noise=noise).loss.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("head", HEADS)
def test_the_graph_compiles_whole(head, config):
    model = head(config).eval()
    images = torch.rand(2, 1, 32, 32)
    noise = {"noise": torch.rand(2, (32 // config.mask_block_size) ** 2)} if head is LensMAEForPreTraining else {}
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    for one, other in zip(model(images, **noise).to_tuple(), compiled(images, **noise).to_tuple(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("head", HEADS)
def test_it_exports_and_the_exported_program_survives_saving(head, config):
    model = head(config).eval()
    images = torch.rand(2, 1, 32, 32)
    inputs = {"pixel_values": images}
    if head is LensMAEForPreTraining:
        inputs["noise"] = torch.rand(2, (32 // config.mask_block_size) ** 2)
    program = torch.export.export(model, args=(), kwargs=inputs)
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    exported = torch.export.load(buffer).module()(**inputs)
    for one, other in zip(model(**inputs).to_tuple(), exported.to_tuple(), strict=True):
        torch.testing.assert_close(one, other)


# What is refused


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (torch.rand(2, 3, 32, 32), "takes 1 band.*`pixel_values` has 3"),
        (torch.rand(2, 1, 7, 32), "7x32 pixels are smaller than one patch of 8x8"),
        (torch.rand(1, 32, 32), "shape .batch, bands, height, width., not .1, 32, 32."),
    ],
)
def test_images_that_do_not_fit_are_refused_in_words(images, words, config):
    for head in HEADS:
        with pytest.raises(ValueError, match=words):
            head(config)(images)


def test_a_tensor_of_three_axes_is_refused_though_a_band_of_constants_would_give_it_a_fourth(config):
    config.sr_pixel_mean, config.sr_pixel_std = [0.0], [1.0]
    with pytest.raises(ValueError, match="shape .batch, bands, height, width., not .1, 32, 32."):
        LensMAEForSuperResolution(config)(torch.rand(1, 32, 32))


@pytest.mark.parametrize("head", HEADS)
def test_pixels_that_are_whole_numbers_are_taken_as_the_floats_they_stand_for(head, config):
    config.sr_pixel_mean, config.sr_pixel_std, config.norm_pix_loss = [0.4], [0.6], True
    model, images = head(config).eval(), torch.randint(0, 9, (2, 1, 32, 32))
    noise = {"noise": torch.rand(2, 16 // config.mask_unit_size**2)} if head is LensMAEForPreTraining else {}
    with torch.no_grad():
        outputs, expected = model(images, **noise), model(images.float(), **noise)
    torch.testing.assert_close(outputs.to_tuple(), expected.to_tuple())
    if head is LensMAEForPreTraining:
        pasted = model.reconstruct(images, outputs)
        torch.testing.assert_close(pasted, model.reconstruct(images.float(), outputs))


def test_a_single_output_takes_any_number_for_a_label(config):
    config.num_labels = 1
    model, images = LensMAEForClassification(config).eval(), torch.rand(2, 1, 32, 32)
    labels = torch.tensor([3, 4])
    whole, real = (model(images, labels=given).loss for given in (labels, labels.float()))
    assert whole == real > 0


def test_labels_out_of_range_are_refused(config):
    with pytest.raises(ValueError, match="class numbers from 0 to 2.*these range from 1 to 3"):
        LensMAEForClassification(config)(torch.rand(2, 1, 32, 32), labels=torch.tensor([1, 3]))


def test_labels_of_any_whole_type_are_classes_and_floats_are_refused(config):
    model, images = LensMAEForClassification(config).eval(), torch.rand(2, 1, 32, 32)
    losses = [model(images, labels=torch.tensor([1, 2]).to(dtype)).loss for dtype in (torch.int32, torch.int64)]
    assert losses[0] == losses[1]
    fresh = LensMAEForClassification(LensMAEConfig(**SMALL, num_labels=3))
    for given in (model, fresh):
        with pytest.raises(ValueError, match="whole numbers; these are torch.float32. For several labels an image"):
            given(images, labels=torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]))
    assert fresh.config.problem_type is None
    fresh.config.problem_type = "multi_label_classification"
    assert fresh(images, labels=torch.eye(3)[:2]).loss > 0


def test_super_resolution_labels_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 1, 32, 32\) for `upscale=2`, not \(1, 1, 16, 16\)"):
        LensMAEForSuperResolution(conv_config())(torch.rand(1, 1, 16, 16), labels=torch.rand(1, 1, 16, 16))


def test_noise_that_would_do_nothing_is_refused(config):
    with pytest.raises(ValueError, match="without `mask_ratio` none is hidden"):
        LensMAEModel(config)(torch.rand(1, 1, 32, 32), noise=torch.rand(1, 16))


def test_noise_of_the_wrong_shape_is_refused(config):
    with pytest.raises(ValueError, match="one number for each image and block"):
        LensMAEForPreTraining(config)(torch.rand(1, 1, 32, 32), noise=torch.rand(1, 3))


# The imprint of substructure


@pytest.mark.parametrize("side", [32, 40])
def test_visible_tokens_learn_what_substructure_changes_in_their_patch(config, side):
    config.imprint_loss_weight, config.imprint_std = 2.0, 0.5
    model = LensMAEForPreTraining(config)
    images, imprint = torch.randn(3, 1, side, side), torch.randn(3, 1, side, side)
    noise = torch.rand(3, (-(-side // config.mask_block_size)) ** 2)
    outputs, plain = model(images, noise=noise, imprint=imprint), model(images, noise=noise)
    hidden = outputs.mask[..., None].bool().expand_as(outputs.imprint_logits)
    assert (outputs.imprint_logits[hidden] == 0).all() and (outputs.imprint_logits[~hidden] != 0).all()
    # By hand, in pixels: of what is visible and no padding.
    visible = model.unpatchify((~hidden).float(), (side, side))
    error = (model.unpatchify(outputs.imprint_logits, (side, side)) - imprint).square()
    expected = plain.loss + 2.0 * (error * visible).sum() / visible.sum() / 0.5**2
    torch.testing.assert_close(outputs.loss, expected)
    outputs.loss.backward()
    assert model.imprint_head.weight.grad.abs().max() > 0


def test_an_imprint_counts_nothing_without_its_weight_and_needs_the_size_of_its_image(config):
    images, imprint = torch.randn(2, 1, 32, 32), torch.randn(2, 1, 32, 32)
    model = LensMAEForPreTraining(config)
    noise = torch.rand(2, (32 // config.mask_block_size) ** 2)
    assert torch.equal(model(images, noise=noise, imprint=imprint).loss, model(images, noise=noise).loss)
    config.imprint_loss_weight = 1.0
    with pytest.raises(ValueError, match="shape of `pixel_values`"):
        LensMAEForPreTraining(config)(images, imprint=imprint[..., :16])


def test_trainer_measures_the_loss_of_images_with_and_without_imprint(config, tmp_path):
    config.imprint_loss_weight = 1.0
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
    rows = [{"pixel_values": torch.randn(1, 32, 32), "imprint": torch.randn(1, 32, 32)} for _ in range(4)]
    for images in (rows, [{"pixel_values": row["pixel_values"]} for row in rows]):
        trainer = Trainer(LensMAEForPreTraining(config), arguments, eval_dataset=images)
        assert trainer.evaluate()["eval_loss"] > 0


def test_a_head_for_the_imprint_is_left_behind_by_every_other_task(config, tmp_path):
    config.imprint_loss_weight = 1.0
    model = LensMAEForPreTraining(config)
    model.save_pretrained(tmp_path)
    assert torch.equal(LensMAEForPreTraining.from_pretrained(tmp_path).imprint_head.weight, model.imprint_head.weight)
    for head in (LensMAEModel, LensMAEForClassification, LensMAEForSuperResolution):
        _, loading = head.from_pretrained(tmp_path, output_loading_info=True)
        assert not loading["unexpected_keys"]
