"""Write the GGUF files: a twin of tiny-llama, and one tensor of each kind that the worker reads.

    python gguf_files.py [--out DIR]

Read from DIR (by default the folder of this script): tiny-llama/, as make.py made it. Written below it:

    tiny-llama-gguf/tiny-llama-q8_0.gguf    the same model as llama.cpp's own converter writes it, quantised to Q8_0
    golden/tiny-llama-gguf.json             what transformers makes of a tiny-llama with those weights
    golden/gguf_kinds.gguf                  random tensors, one for each kind
    golden/gguf_kinds.safetensors           the same tensors as float32, by gguf-py's own dequantisation
    golden/gguf_refused.gguf                a kind that the worker does not read

Exits with 1 when the twin gives a wrong answer.
"""

import argparse
import json
import sys
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Kind
from gguf import TokenType
from make import HERE, MADE_WITH, passes, report_size, runs, write_goldens
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleaved(rows: np.ndarray, heads: int) -> np.ndarray:
    """The rows of q or k for llama.cpp's rotary embedding, which turns neighbours and not the two halves of a head."""
    return rows.reshape(heads, 2, -1, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def add_config(out: gguf.GGUFWriter, config: dict) -> None:
    out.add_name("tiny-llama")
    out.add_block_count(config["num_hidden_layers"])
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_key_length(config["head_dim"])
    out.add_value_length(config["head_dim"])
    out.add_rope_dimension_count(config["head_dim"])
    out.add_rope_freq_base(config["rope_theta"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_vocab_size(config["vocab_size"])
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)


def add_tokenizer(out: gguf.GGUFWriter, folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    told = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    tok = Tokenizer.from_file(str(folder / "tokenizer.json"))
    added = tok.get_added_tokens_decoder()
    kinds = [TokenType.CONTROL if id in added else TokenType.NORMAL for id in range(tok.get_vocab_size())]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list([tok.id_to_token(id) for id in range(tok.get_vocab_size())])
    out.add_token_types(kinds)
    out.add_token_merges([" ".join(pair) for pair in model["merges"]])
    out.add_bos_token_id(tok.token_to_id(told["bos_token"]))
    out.add_eos_token_id(tok.token_to_id(told["eos_token"]))
    out.add_unk_token_id(tok.token_to_id(told["unk_token"]))
    out.add_pad_token_id(tok.token_to_id(told["pad_token"]))
    out.add_add_bos_token(told["add_bos_token"])
    out.add_chat_template(told["chat_template"])


def close(out: gguf.GGUFWriter) -> None:
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def twin(folder: Path, path: Path) -> None:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    out = gguf.GGUFWriter(path, "llama")
    add_config(out, config)
    add_tokenizer(out, folder)
    for name, tensor in load_file(folder / "model.safetensors").items():
        if "q_proj" in name:
            tensor = interleaved(tensor, config["num_attention_heads"])
        if "k_proj" in name:
            tensor = interleaved(tensor, config["num_key_value_heads"])
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        out.add_tensor(name, gguf.quantize(tensor, kind_of(tensor)), raw_dtype=kind_of(tensor))
    close(out)


def kind_of(tensor: np.ndarray) -> Kind:
    return Kind.F32 if tensor.ndim == 1 else Kind.Q8_0


def through_q8_0(tensor: torch.Tensor) -> torch.Tensor:
    """What is left of a weight in the twin. Q8_0 works along a row, so the order of the rows is no matter."""
    kind = kind_of(tensor)
    return torch.from_numpy(gguf.dequantize(gguf.quantize(tensor.numpy(), kind), kind))


ROWS, COLUMNS = 3, 512
QUANTISED = [Kind.F32, Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_0]
# gguf-py reads these but does not write them: where a block of so many bytes keeps its float16 scales. The rest of
# its bytes may be anything.
CRAFTED = {Kind.Q4_K: (144, [0, 2]), Kind.Q5_K: (176, [0, 2]), Kind.Q6_K: (210, [208])}
REFUSED = {Kind.IQ4_XS: (136, [0])}


def crafted(dice: np.random.Generator, size: int, scales: list[int]) -> np.ndarray:
    blocks = dice.integers(0, 256, (ROWS, COLUMNS // 256, size), dtype=np.uint8)
    for at in scales:
        scale = dice.uniform(-0.01, 0.01, (*blocks.shape[:2], 1)).astype(np.float16)
        blocks[..., at : at + 2] = scale.view(np.uint8)
    return blocks.reshape(ROWS, -1)


def kinds(golden: Path) -> None:
    dice, expected = np.random.default_rng(1), {}
    out, refused = (gguf.GGUFWriter(golden / f"{name}.gguf", "llama") for name in ("gguf_kinds", "gguf_refused"))
    for kind in QUANTISED:
        data = gguf.quantize(dice.standard_normal((ROWS, COLUMNS), dtype=np.float32), kind)
        out.add_tensor(kind.name.lower(), data, raw_dtype=kind)
        expected[kind.name.lower()] = gguf.dequantize(data, kind).astype(np.float32)
    for kind, block in CRAFTED.items():
        data = crafted(dice, *block)
        out.add_tensor(kind.name.lower(), data, raw_dtype=kind)
        expected[kind.name.lower()] = gguf.dequantize(data, kind).astype(np.float32)
    for kind, block in REFUSED.items():
        refused.add_tensor(kind.name.lower(), crafted(dice, *block), raw_dtype=kind)
    close(out)
    close(refused)
    save_file(expected, golden / "gguf_kinds.safetensors")
    (golden / "gguf_kinds.safetensors").chmod(0o644)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="where tiny-llama is (default: here)")
    out = parser.parse_args().out
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)  # fixes the order of sums

    folder = out / "tiny-llama-gguf"
    folder.mkdir(exist_ok=True)
    twin(out / "tiny-llama", folder / "tiny-llama-q8_0.gguf")
    kinds(out / "golden")

    tok = AutoTokenizer.from_pretrained(out / "tiny-llama")
    model = AutoModelForCausalLM.from_pretrained(out / "tiny-llama").eval()
    model.load_state_dict({name: through_q8_0(tensor) for name, tensor in model.state_dict().items()})
    print(f"tiny-llama-gguf: {model.num_parameters():,} parameters")
    good = passes(model, tok)
    report_size(folder)
    made_with = {"gguf": version("gguf"), **MADE_WITH}
    values = {"model": "tiny-llama-gguf", "made_with": made_with, "runs": runs(model, tok)}
    write_goldens(out / "golden" / "tiny-llama-gguf.json", values)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
