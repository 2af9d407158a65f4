"""Make tiny models of random weights that together vary every field of a config.json, and their goldens.

    python random_goldens.py [--out DIR]

Written below DIR (by default golden/random beside this script), for each name of MODELS:

    <name>/config.json, <name>/model.safetensors    the model, float32
    <name>.json                                     for each case a prompt, its logits, 128 greedy tokens

The seed of a model is the first that leaves a clear winner at every greedy token, so float32 elsewhere must choose the
same. The same machine and the same package versions give the same bytes.
"""

import argparse
import sys
from pathlib import Path

import torch
import transformers
from make import MADE_WITH, write_goldens, write_json
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB, NEW_TOKENS, MARGIN, DISTINCT = 160, 128, 2e-3, 24
SHORT, LONG = 5, 150  # tokens of a prompt

# ----------------------------------------------------------------------------------------------------------- configs


def model(type_: str, **fields) -> dict:
    """A config.json: small, with the old names of transformers 4 unless it has rope_parameters."""
    known = {"llama": "Llama", "qwen2": "Qwen2", "phi3": "Phi3", "mistral": "Mistral"}
    small = {
        "architectures": [known[type_] + "ForCausalLM"],
        "model_type": type_,
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }
    if "rope_parameters" in fields:
        old = {"dtype": "float32"}
    else:
        old = {"torch_dtype": "float32", "rope_theta": 10000.0, "rope_scaling": None}
    return {**small, **old, **fields}


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3["original_max_position_embeddings"] = 64


def factors(pairs: int) -> dict:
    """Different for each pair of rotated dimensions, and for short and long."""
    short = [round(1 + 0.15 * i, 2) for i in range(pairs)]
    return {"short_factor": short, "long_factor": [round(1.3 + 1.7 * i, 2) for i in range(pairs)]}


# name: (config, lengths of the prompts)
MODELS = {
    "llama-mha-tied": (
        model("llama", num_key_value_heads=4, tie_word_embeddings=True, hidden_size=64, num_hidden_layers=1),
        [SHORT, LONG],
    ),
    "llama-one-kv-head-theta-1e6": (
        model("llama", num_key_value_heads=1, rope_theta=1e6, rms_norm_eps=1e-6, num_hidden_layers=3),
        [SHORT, LONG],
    ),
    "llama-biases": (model("llama", attention_bias=True, mlp_bias=True), [SHORT, LONG]),
    "llama-wide-heads": (model("llama", head_dim=16, rms_norm_eps=1e-3), [SHORT, LONG]),
    "llama-narrow-heads-new-names": (
        model("llama", hidden_size=48, head_dim=8, rope_parameters={"rope_type": "default", "rope_theta": 500000.0}),
        [SHORT, LONG],
    ),
    "llama-linear": (model("llama", rope_scaling={"type": "linear", "factor": 4.0}), [SHORT, LONG]),
    # Below max_position_embeddings, across it while decoding, and beyond it from the start.
    "llama-dynamic": (
        model("llama", rope_scaling={"type": "dynamic", "factor": 2.0}, max_position_embeddings=192),
        [SHORT, LONG, 240],
    ),
    "llama-llama3": (model("llama", rope_scaling=LLAMA3, rope_theta=500000.0, head_dim=16), [SHORT, LONG]),
    "llama-llama3-new-names": (
        model("llama", rope_parameters={**LLAMA3, "rope_theta": 1e4}, attention_bias=True, tie_word_embeddings=True),
        [SHORT, LONG],
    ),
    "llama-yarn": (model("llama", rope_scaling=YARN, num_attention_heads=2, num_key_value_heads=1), [SHORT, LONG]),
    "llama-yarn-attention-factor": (
        model(
            "llama",
            rope_parameters={**YARN, "rope_theta": 10000.0, "attention_factor": 0.9, "beta_fast": 16, "beta_slow": 2},
            head_dim=16,
        ),
        [SHORT, LONG],
    ),
    "llama-yarn-mscale": (
        model("llama", rope_scaling={**YARN, "mscale": 0.7, "mscale_all_dim": 1.3, "truncate": False}, head_dim=16),
        [SHORT, LONG],
    ),
    # A window is named, and switched off.
    "qwen2-tied": (
        model("qwen2", tie_word_embeddings=True, rope_theta=1e6, rms_norm_eps=1e-6)
        | {"use_sliding_window": False, "sliding_window": 16, "max_window_layers": 1},
        [SHORT, LONG],
    ),
    # The first layer sees everything, the other two the window.
    "qwen2-window": (
        model("qwen2", num_hidden_layers=3, use_sliding_window=True, sliding_window=24, max_window_layers=1),
        [SHORT, LONG],
    ),
    "qwen2-layer-types-new-names": (
        model("qwen2", rope_parameters={"rope_type": "default", "rope_theta": 1e6}, num_key_value_heads=4)
        | {"use_sliding_window": True, "sliding_window": 24, "max_window_layers": 2}
        | {"layer_types": ["sliding_attention", "full_attention"]},
        [SHORT, LONG],
    ),
    "qwen2-yarn": (
        model("qwen2", num_key_value_heads=1, rope_theta=1e6)
        | {"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}},
        [SHORT, LONG],
    ),
    "phi3-window": (model("phi3", num_key_value_heads=4, sliding_window=40), [SHORT, LONG]),
    # Below original_max_position_embeddings, across it while decoding, and beyond it from the start.
    "phi3-longrope": (
        model("phi3", rope_scaling={"type": "longrope", **factors(4)}, original_max_position_embeddings=192),
        [SHORT, LONG, 240],
    ),
    "phi3-longrope-partial-window": (
        model("phi3", num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True, sliding_window=100)
        | {"rope_scaling": {"type": "longrope", **factors(6)}, "original_max_position_embeddings": 192}
        | {"partial_rotary_factor": 0.75},
        [SHORT, LONG, 240],
    ),
    "phi3-longrope-attention-factor-new-names": (
        model(
            "phi3",
            num_attention_heads=2,
            rope_parameters={"rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.5, **factors(4)}
            | {"attention_factor": 1.15, "original_max_position_embeddings": 192},
            original_max_position_embeddings=192,
        ),
        [SHORT, LONG, 240],
    ),
    "mistral-window": (model("mistral", sliding_window=32), [SHORT, LONG]),
    "mistral-wide-heads-new-names": (
        model("mistral", head_dim=16, rope_parameters={"rope_type": "default", "rope_theta": 1e6}, sliding_window=None),
        [SHORT, LONG],
    ),
    "mistral-linear-tied-window": (
        model("mistral", num_key_value_heads=1, tie_word_embeddings=True, head_dim=None, sliding_window=48)
        | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        [SHORT, LONG],
    ),
}

# ----------------------------------------------------------------------------------------------------------- weights


def weights(config: dict, folder: Path, seed: int) -> None:
    """Random, but with attention that looks somewhere and logits of the order of 10."""
    dice = torch.Generator().manual_seed(seed)
    tied, tensors = config["tie_word_embeddings"], {}
    for name, shape in shapes(folder).items():
        noise = torch.randn(shape, generator=dice)
        if "norm" in name:
            tensors[name] = 1 + 0.2 * noise
        elif "bias" in name:
            tensors[name] = 0.3 * noise
        elif "embed" in name:
            tensors[name] = (0.5 if tied else 1.0) * noise
        elif "lm_head" in name:
            tensors[name] = 3 * noise / shape[1] ** 0.5
        else:
            tensors[name] = 1.7 * noise / shape[1] ** 0.5
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def shapes(folder: Path) -> dict[str, torch.Size]:
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config)
    skipped = {"lm_head.weight"} if config.tie_word_embeddings else set()
    return {name: p.shape for name, p in sorted(empty.state_dict().items()) if name not in skipped}


# ----------------------------------------------------------------------------------------------------------- goldens


def load(folder: Path):
    """Always afresh: with dynamic scaling a model of transformers remembers the longest prompt it has seen."""
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def rounded(logits: torch.Tensor) -> list[float]:
    return [float(f"{x:.7g}") for x in logits.tolist()]


@torch.no_grad()
def case(folder: Path, length: int, seed: int) -> dict:
    dice = torch.Generator().manual_seed(seed * 1000 + length)
    prompt = torch.randint(VOCAB, (1, length), generator=dice)
    how = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    said = load(folder).generate(prompt, attention_mask=torch.ones_like(prompt), **how)
    best = torch.cat(said.logits).topk(2).values
    at_once = load(folder)(said.sequences).logits[0, length - 1 : -1].argmax(-1)
    logits = load(folder)(prompt).logits[0]
    positions = sorted({round(i * (length - 1) / 4) for i in range(5)})
    greedy = said.sequences[0, length:]
    return {
        "ids": prompt[0].tolist(),
        "last_logits": rounded(logits[-1]),
        "positions": positions,
        "position_logits": [rounded(logits[i]) for i in positions],
        "greedy_ids": greedy.tolist(),
        "final_logits": rounded(said.logits[-1][0]),
        "min_margin": round((best[:, 0] - best[:, 1]).min().item(), 4),
        "same_without_cache": torch.equal(at_once, greedy),
    }


def make(name: str, out: Path) -> None:
    config, lengths = MODELS[name]
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", config)
    for seed in range(1000):
        weights(config, folder, seed)
        cases = []
        for length in lengths:
            cases.append(case(folder, length, seed))
            if cases[-1]["min_margin"] < MARGIN or len(set(cases[-1]["greedy_ids"])) < DISTINCT:
                break
        else:
            break
    write_goldens(out / f"{name}.json", {"model": name, "made_with": MADE_WITH, "seed": seed, "cases": cases})
    size = sum(f.stat().st_size for f in [*folder.iterdir(), out / f"{name}.json"])
    margins = ", ".join(str(c["min_margin"]) for c in cases)
    print(f"{name}: seed {seed}, margins {margins}, {size:,} bytes", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=MODELS, action="append", help="make only this one (default: all)")
    here = Path(__file__).resolve().parent / "golden" / "random"
    parser.add_argument("--out", type=Path, default=here, metavar="DIR", help="where to write (default: golden/random)")
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)  # fixes the order of sums
    for name in args.model or MODELS:
        make(name, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
