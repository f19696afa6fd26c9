"""Checkpoints of every published layout, written tiny by the test, load to the model they were written from."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from sjd2.backbones import Emu3, LuminaMGPT, TransformersBackbone, checkpoint, estimate_memory, load_backbone
from sjd2.backbones.card import save_card
from sjd2.backbones.loading import emu3_name, lumina_name
from sjd2.backbones.tiny import (
    chameleon_config,
    emu3_card,
    emu3_text_config,
    emu3_vq_config,
    lumina_card,
    randomise,
    tiny_lumina,
)
from sjd2.backbones.vqgan import VQGANDecoder, VQGANShape
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import ChameleonForConditionalGeneration, Emu3ForCausalLM, Emu3VQVAE

VQ = VQGANShape(codes=8, embed=8, z=8, widths=(32, 32), blocks=2, attention=(False, False))


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Models this small only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def put(folder: Path, config: dict[str, Any], state: dict[str, Tensor], shards: int = 1) -> Path:
    """Write config.json, tokenizer.json and the weights, in shards with an index where asked."""
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "0": 2, "1": 3, "*": 4, "x": 5}, merges=[])).save(
        str(folder / "tokenizer.json")
    )
    state = {name: value.contiguous().clone() for name, value in state.items()}
    if shards == 1:
        save_file(state, folder / "model.safetensors")
        return folder
    names = sorted(state)
    files = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: state[name] for name in names if files[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return folder


def old_spelling(config: dict[str, Any]) -> dict[str, Any]:
    """The fields as checkpoints of transformers 4 hold them."""
    held = {k: v for k, v in config.items() if k != "rope_parameters"}
    held |= {"rope_theta": config["rope_parameters"]["rope_theta"], "rope_scaling": None, "torch_dtype": "bfloat16"}
    held["auto_map"] = {"AutoModelForCausalLM": "evil.Model"}
    return held


def chameleon(swin_norm: bool = False, shards_of_norm: int = 1, tie: bool = False) -> ChameleonForConditionalGeneration:
    """A random model whose q/k norms repeat as those of a checkpoint of ``shards_of_norm`` shards do."""
    config = chameleon_config(swin_norm=swin_norm)
    config.tie_word_embeddings = tie
    model = randomise(ChameleonForConditionalGeneration(config), 7).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "q_norm" in name or "k_norm" in name:
                few = value[:: len(value) // shards_of_norm].clone()
                value.copy_(few.repeat_interleave(len(value) // shards_of_norm, 0))
    return model


def lumina_state(model: ChameleonForConditionalGeneration, shards_of_norm: int) -> dict[str, Tensor]:
    state = {name: value for name, value in model.state_dict().items() if "vqmodel" not in name}
    for name, value in state.items():
        if "q_norm" in name or "k_norm" in name:
            state[name] = value[:: len(value) // shards_of_norm]
    return state


def same(loaded: TransformersBackbone, model: Any, dtype: torch.dtype = torch.float32) -> None:
    """The loaded backbone computes what ``model`` computes."""
    assert not any(module.training for module in loaded.text.modules())
    assert not any(value.is_meta for value in [*loaded.text.parameters(), *loaded.text.buffers()])
    ids = torch.arange(12)[None]
    with torch.no_grad():
        expected = model.to(dtype).model(input_ids=ids, use_cache=False).last_hidden_state
        got = loaded.text(input_ids=ids, use_cache=False).last_hidden_state
    assert got.dtype == dtype
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(loaded.lm_head.weight, model.lm_head.weight)


@pytest.mark.parametrize(("shards_of_norm", "swin"), [(1, False), (2, True), (4, False)])
def test_lumina_with_few_rows_of_norm_weights_in_shards(tmp_path: Path, shards_of_norm: int, swin: bool) -> None:
    """Lumina stores q/k norms as [shards, D]: 1 for the 7B model, several for 34B, where each shard serves a run of
    heads.
    """
    model = chameleon(swin, shards_of_norm)
    state = lumina_state(model, shards_of_norm)
    assert state["model.layers.0.self_attn.q_norm.weight"].shape == (shards_of_norm, 16)
    folder = put(tmp_path, old_spelling(model.config.to_dict()), state, shards=3)
    save_card(lumina_card(), folder)
    loaded = load_backbone(folder, dtype=torch.float32)
    assert isinstance(loaded, LuminaMGPT)
    assert loaded.card == lumina_card()
    same(loaded, model)
    assert loaded.encode(["ab"])[0].cond == (
        0,
        3,
        5,
        0,
        1,
        12,
    )  # "12x8 ab", of which the toy vocabulary knows 1, x, a and b


def test_float32_on_disk_becomes_bfloat16_and_rotary_frequencies_stay_float32(tmp_path: Path) -> None:
    model = chameleon()
    folder = put(tmp_path, model.config.to_dict(), lumina_state(model, 1), shards=2)
    save_card(lumina_card(), folder)
    loaded = load_backbone(folder)
    assert loaded.dtype == torch.bfloat16
    assert {p.dtype for p in loaded.text.parameters()} == {torch.bfloat16}
    inv_freq = loaded.text.rotary_emb.inv_freq
    torch.testing.assert_close(inv_freq, 10_000.0 ** (-torch.arange(0, 16, 2) / 16), rtol=1e-6, atol=0)
    held = model.state_dict()["model.layers.1.mlp.up_proj.weight"]
    assert torch.equal(loaded.text.layers[1].mlp.up_proj.weight, held.bfloat16())


def own_memory() -> int:
    """Bytes that this process holds beside files it has mapped."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def loading(folder: Path, hoard: bool) -> int:
    """The most that this process held while it loaded, above what it held before."""
    seen: list[int] = []
    place = checkpoint.place

    def watched(*args: Any, **kwargs: Any) -> None:
        place(*args, **kwargs)
        seen.append(own_memory())

    checkpoint.place = watched
    if hoard:
        read = checkpoint.Checkpoint.tensors
        checkpoint.Checkpoint.tensors = lambda self: [(n, t.clone()) for n, t in read(self)]  # type: ignore[method-assign]
    before = own_memory()
    load_backbone(folder, dtype=torch.bfloat16)
    return max(seen) - before


@pytest.mark.parametrize("hoard", [False, True], ids=["streamed", "read first"])
def test_loading_float32_to_bfloat16_needs_no_second_copy(tmp_path: Path, hoard: bool) -> None:
    """Memory is looked at whenever a tensor is placed; a loader that reads everything first would be seen.

    In a process of its own: what malloc keeps and gives back depends on all that ran before.
    """
    config = chameleon_config()
    config.hidden_size, config.intermediate_size, config.num_hidden_layers = 768, 2048, 3
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in ChameleonForConditionalGeneration(config).state_dict().items()}
    state = {name: torch.full(shape, 0.5) for name, shape in shapes.items() if "vqmodel" not in name}
    wide = sum(value.nbytes for value in state.values())
    largest = max(value.nbytes for value in state.values())
    folder = put(tmp_path, config.to_dict(), state, shards=2)
    save_card(lumina_card(), folder)
    program = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import test_backbones_loading as t; "
    program += f"print(t.loading(t.Path({str(folder)!r}), {hoard}))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    used, slack = int(ran.stdout), 10 << 20
    assert (used < wide / 2 + largest + slack) != hoard, f"{used >> 20} MiB for {wide >> 20} MiB of float32"
    assert load_backbone(folder, dtype=torch.bfloat16).memory().weights == wide // 2


def test_picture_decoder_inside_a_converted_checkpoint_or_beside_it(tmp_path: Path) -> None:
    model, vq = chameleon(), randomise(VQGANDecoder(VQ), 9).eval()
    state = lumina_state(model, 4)
    inside = state | {f"model.vqmodel.{name}": value for name, value in vq.state_dict().items()}
    inside["model.vqmodel.encoder.conv_in.weight"] = torch.zeros(3)
    codes = torch.randint(0, 8, (1, 2, 3))
    folder = put(tmp_path / "one", model.config.to_dict(), inside)
    save_card(lumina_card(), folder)
    assert torch.equal(load_backbone(folder).decode(codes), vq.pictures(codes))
    alone = put(tmp_path / "two", model.config.to_dict(), state)
    save_card(lumina_card(), alone)
    save_file(vq.state_dict(), tmp_path / "vqgan.safetensors")
    assert torch.equal(load_backbone(alone, vq=tmp_path / "vqgan.safetensors").decode(codes), vq.pictures(codes))
    without = load_backbone(alone)
    with pytest.raises(RuntimeError, match=r"cannot draw the picture: .* Meta's vqgan.ckpt \(Chameleon release"):
        without.decode(codes)
    painted = load_backbone(alone, pictures=lambda codes: codes[..., None].expand(-1, -1, -1, 3).to(torch.uint8))
    assert painted.images(codes)[0].getpixel((1, 0)) == (int(codes[0, 0, 1]),) * 3


def test_without_a_card_the_vocabulary_map_names_the_special_tokens(tmp_path: Path) -> None:
    config = chameleon_config(V=8192, max_positions=2048)
    names = {"<s>": 0, "<racm3:break>": 8197, "<eoss>": 8196, "<reserved08706>": 8200, "<reserved08799>": 8198}
    config.vocabulary_map |= names | {"<reserved08800>": 8210}
    config.vocab_size = 8300
    model = ChameleonForConditionalGeneration(config)
    folder = put(tmp_path / "Lumina-mGPT-7B-512", config.to_dict(), lumina_state(model, 4))
    loaded = load_backbone(folder)
    assert isinstance(loaded, LuminaMGPT)
    card = loaded.card
    assert (card.boi, card.eoi, card.separator, card.eol, card.size_base) == (8197, 8196, 8200, 8198, 8210)
    assert card.size == (512, 512)
    assert card.name == "Lumina-mGPT-7B-512"
    assert loaded.grid().n_tokens == 32 * 33 + 5
    assert loaded.head(torch.randn(1, 64).bfloat16()).shape == (1, 8192)


def test_the_1024_model_counts_as_far_as_its_own_pictures() -> None:
    from sjd2.backbones.loading import _lumina_card

    card = _lumina_card({"max_position_embeddings": 4096}, Path("/nowhere/1a2b"), "Lumina-mGPT-7B-1024")
    assert card.size == (1024, 1024)
    assert card.max_positions is not None
    assert card.max_positions > 64 * 65 + 5
    assert _lumina_card({"max_position_embeddings": 4096}, Path("/nowhere"), "Lumina-mGPT-7B-768").max_positions is None


def test_a_shuffled_vocabulary_map_moves_the_codes(tmp_path: Path) -> None:
    model = chameleon()
    config = model.config.to_dict()
    a, b = "IMGIMGAZ", "IMGIMGBZ"
    config["vocabulary_map"] |= {a: config["vocabulary_map"][b], b: config["vocabulary_map"][a]}
    folder = put(tmp_path, config, lumina_state(model, 4))
    save_card(lumina_card(), folder)
    assert load_backbone(folder).ids[:8].tolist() == [5, 4, 6, 7, 8, 9, 10, 11]


EMU3_IDS = {"img": 3, "boi": 4, "eoi": 5, "eol": 6, "eof": 7}


@pytest.mark.parametrize("layout", ["remote", "hf-old", "hf-new", "text"])
def test_emu3_in_every_published_layout(tmp_path: Path, layout: str) -> None:
    model = randomise(Emu3ForCausalLM(emu3_text_config()), 7).eval()
    vq = randomise(Emu3VQVAE(emu3_vq_config()), 8).eval()
    text, config = model.state_dict(), model.config.to_dict()
    if layout == "remote":
        config = old_spelling(config) | {"model_type": "Emu3"} | {f"{k}_token_id": v for k, v in EMU3_IDS.items()}
        state = text
    elif layout == "text":
        state = text
    else:
        vocabulary = {
            "<|extra_200|>": 6,
            "<|extra_201|>": 7,
            "<|image token|>": 3,
            "<|image start|>": 4,
            "<|image end|>": 5,
        }
        config = {
            "model_type": "emu3",
            "text_config": old_spelling(config) if layout == "hf-old" else config,
            "vq_config": vq.config.to_dict(),
            "vocabulary_map": vocabulary | {f"<|visual token {code:06}|>": 8 + code for code in range(8)},
        }
        old = layout == "hf-old"
        place = {
            "model.": "text_model.model." if old else "model.text_model.",
            "lm_head.": "text_model.lm_head." if old else "lm_head.",
        }
        state = {place[name.split(".")[0] + "."] + name.split(".", 1)[1]: value for name, value in text.items()}
        state |= {("vqmodel." if old else "model.vqmodel.") + name: value for name, value in vq.state_dict().items()}
    folder = put(tmp_path / "m", config, state, shards=2)
    if layout in ("remote", "text"):
        save_card(emu3_card(), folder)
        put(tmp_path / "vq", vq.config.to_dict(), vq.state_dict())
        loaded = load_backbone(folder, dtype=torch.float32, vq=tmp_path / "vq")
    else:
        from sjd2.backbones import loading

        published = loading.Emu3Card
        loading.Emu3Card = lambda **fields: published(**fields, V=8, bos=1, eos=2)  # the tiny vocabulary
        try:
            loaded = load_backbone(folder, dtype=torch.float32)
        finally:
            loading.Emu3Card = published
    assert isinstance(loaded, Emu3)
    same(loaded, model)
    assert {name: getattr(loaded.card, name) for name in EMU3_IDS} == EMU3_IDS
    assert loaded.ids[:8].tolist() == list(range(8, 16))
    codes = torch.randint(0, 8, (1, 2, 3))
    with torch.no_grad():
        colour = (vq.decode(codes).clamp(-1, 1) + 1) / 2 * 255
    assert (loaded.decode(codes).float() - colour.permute(0, 2, 3, 1)).abs().max() <= 0.501


def test_emu3_without_pictures_names_where_they_come_from(tmp_path: Path) -> None:
    model = Emu3ForCausalLM(emu3_text_config())
    folder = put(tmp_path, model.config.to_dict(), model.state_dict())
    save_card(emu3_card(), folder)
    with pytest.raises(RuntimeError, match=r"cannot draw the picture: .* BAAI/Emu3-VisionTokenizer"):
        load_backbone(folder).decode(torch.zeros(1, 2, 2, dtype=torch.long))


def test_remote_special_ids_are_read_from_the_configuration() -> None:
    from sjd2.backbones.loading import _emu3_card

    held = {"img_token_id": 31, "eol_token_id": 32, "bos_token_id": 33, "image_area": 518_400}
    card = _emu3_card(held, Path("/nowhere/snapshots/1a2b"), "Emu3-Gen")
    assert (card.img, card.eol, card.bos, card.boi, card.name) == (31, 32, 33, 151_852, "Emu3-Gen")


def test_tied_heads_are_tied_and_counted_once(tmp_path: Path) -> None:
    model = chameleon(tie=True)
    state = {name: value for name, value in lumina_state(model, 4).items() if name != "lm_head.weight"}
    folder = put(tmp_path, model.config.to_dict(), state)
    save_card(lumina_card(), folder)
    loaded = load_backbone(folder, dtype=torch.float32)
    assert loaded.lm_head.weight.data_ptr() == loaded.embedding.data_ptr()
    assert loaded.memory().weights == 4 * sum(value.numel() for value in state.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_estimated_from_the_configuration_alone(tmp_path: Path, dtype: torch.dtype) -> None:
    model = chameleon()
    folder = put(tmp_path, old_spelling(model.config.to_dict()), lumina_state(model, 1))
    save_card(lumina_card(), folder)
    loaded = load_backbone(folder, dtype=dtype).memory()
    (folder / "model.safetensors").unlink()
    assert estimate_memory(folder, dtype=dtype) == loaded
    assert loaded.per_position == 2 * 2 * 4 * 16 * dtype.itemsize


def test_the_tokenizer_may_come_from_elsewhere(tmp_path: Path) -> None:
    """Most Lumina repositories hold none; that of the 7B-768 model serves them all."""
    model = chameleon()
    folder = put(tmp_path / "a", model.config.to_dict(), lumina_state(model, 4))
    save_card(lumina_card(), folder)
    other = put(tmp_path / "b", {}, {"x": torch.zeros(1)})
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tokenizer.json .* it comes from Alpha-VLLM/Lumina-mGPT-7B-768"):
        load_backbone(folder)
    assert load_backbone(folder, tokenizer=other).tokenize("ab") == [0, 1]
    assert load_backbone(folder, tokenizer=lambda text: [len(text)]).tokenize("ab") == [2]


def test_a_cards_family_must_fit_the_model(tmp_path: Path) -> None:
    model = chameleon()
    folder = put(tmp_path, model.config.to_dict(), lumina_state(model, 4))
    save_card(emu3_card(), folder)
    with pytest.raises(ValueError, match=r"sjd2.json is for emu3, config.json for chameleon"):
        load_backbone(folder)


def test_unknown_models_and_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config.json is missing; it comes from Alpha-VLLM/Lumina-mGPT"):
        load_backbone(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(ValueError, match=r"model_type must be chameleon, .* got 'llama'; docs/new_backbone.md"):
        load_backbone(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(chameleon_config().to_dict()))
    with pytest.raises(FileNotFoundError, match=r"holds no weights .* they come from Alpha-VLLM/Lumina-mGPT-7B-768"):
        load_backbone(tmp_path)


def test_missing_and_foreign_tensors_are_named(tmp_path: Path) -> None:
    model = chameleon()
    state = lumina_state(model, 4)
    lacking = {name: value for name, value in state.items() if not name.startswith("model.layers.1.")}
    folder = put(tmp_path, model.config.to_dict(), lacking)
    with pytest.raises(
        ValueError, match=r"lacks model.layers.1.input_layernorm.weight, .* and 7 more; the complete one"
    ):
        load_backbone(folder)
    put(tmp_path, model.config.to_dict(), state | {"model.layers.9.mlp.up_proj.weight": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"no place for model.layers.9.mlp.up_proj.weight"):
        load_backbone(folder)
    put(tmp_path, model.config.to_dict(), state | {"lm_head.weight": torch.zeros(3, 64)})
    with pytest.raises(ValueError, match=r"lm_head.weight must have shape \(42, 64\), got \(3, 64\)"):
        load_backbone(folder)


def test_names_of_the_vq_models_are_left_out() -> None:
    assert lumina_name("model.vqmodel.quantize.embedding.weight") is None
    assert lumina_name("lm_head.weight") == "lm_head.weight"
    for name in ("model.vqmodel.decoder.conv_in.bias", "vqmodel.decoder.conv_in.bias"):
        assert emu3_name(name) is None


def test_a_loaded_model_is_the_one_that_tiny_builds(tmp_path: Path) -> None:
    """Saving the parts of a backbone and loading them gives the same logits."""
    made = tiny_lumina(seed=5)
    state = {f"model.{name}": value for name, value in made.text.state_dict().items() if "vqmodel" not in name}
    folder = put(tmp_path, made.text.config.to_dict(), state | {"lm_head.weight": made.lm_head.weight.detach()})
    save_card(made.card, folder)
    loaded = load_backbone(folder, dtype=torch.float32)
    hidden = torch.randn(3, 64)
    assert torch.equal(loaded.head(hidden), made.head(hidden))
    assert torch.equal(loaded.grid().forced, made.grid().forced)
    assert torch.equal(loaded.mean, made.mean)
    assert torch.equal(loaded.table, made.table)
