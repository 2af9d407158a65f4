"""The model families: what their tokenizers, configs and files look like. make.py trains one model of each.

A tokenizer is built from texts, a config from the tokenizer's ids. The chat templates lie in templates/, as published.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, MistralConfig, Phi3Config, PretrainedConfig, Qwen2Config

CONTEXT = 512
VOCAB = 768
PADDED = 16  # rows of the embedding that no token uses, in the families that pad it

# --------------------------------------------------------------------------------------------------------- tokenizers


def special(text: str, **how) -> AddedToken:
    return AddedToken(text, special=True, normalized=False, **how)


def begins_with(token: str, tok: Tokenizer) -> processors.TemplateProcessing:
    ids = [(token, tok.token_to_id(token))]
    return processors.TemplateProcessing(single=f"{token} $A", pair=f"{token} $A {token} $B", special_tokens=ids)


def llama_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Byte-level BPE as in Llama 3: every text round-trips. The first ids are the special tokens."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[special(t) for t in ("<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>")],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tok.train_from_iterator(texts, trainer)
    tok.post_processor = begins_with("<s>", tok)
    return tok


QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def qwen_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Byte-level BPE after NFC, Qwen's own division into words, and the added tokens after all others; no BOS."""
    added = [special(t) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    added += [AddedToken(t, special=False, normalized=False) for t in ("<tool_call>", "</tool_call>")]
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    words = pre_tokenizers.Split(Regex(QWEN_WORDS), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tok.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - PADDED - len(added),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # The template's own system message stands in front of most chats, so it should not take many tokens.
    system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    tok.train_from_iterator([*texts, *[system] * 20], trainer)
    tok.add_tokens(added)
    return tok


def sentencepiece(texts: Iterable[str], size: int) -> Tokenizer:
    """BPE as Llama 2's: spaces become ▁, no division into words, unknown characters fall back to bytes."""
    first = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    training = Tokenizer(models.BPE())
    training.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split("▁", behavior="merged_with_next"),
            pre_tokenizers.Punctuation(),
            pre_tokenizers.Digits(individual_digits=True),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(first), initial_alphabet=[chr(c) for c in range(33, 127)], show_progress=False
    )
    # Each text at the start of a line, and as it stands behind another text.
    texts = [text.replace(" ", "▁") for text in texts]
    training.train_from_iterator([*texts, *("▁" + text for text in texts)], trainer)
    learned = json.loads(training.to_str())["model"]
    vocab = {token: id for id, token in enumerate([*first, *learned["vocab"]])}
    merges = [tuple(pair) for pair in learned["merges"]]

    tok = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tok.decoder = decoders.Sequence(parts)
    tok.add_tokens([special(t) for t in first[:3]])
    return tok


def phi3_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Sentencepiece's, no BOS; the role tokens come last and swallow the white space after them."""
    roles = [special(t, rstrip=True) for t in ("<|assistant|>", "<|system|>", "<|end|>", "<|user|>")]
    added = [special("<|endoftext|>"), *roles]
    tok = sentencepiece(texts, VOCAB - PADDED - len(added))
    tok.add_tokens(added)
    return tok


def mistral_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Sentencepiece's with a BOS; [INST] and [/INST] are plain text."""
    tok = sentencepiece(texts, VOCAB)
    tok.post_processor = begins_with("<s>", tok)
    return tok


# ------------------------------------------------------------------------------------------------------------ configs

SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.06,
}


def rope(theta: float) -> dict:
    return {"rope_type": "default", "rope_theta": theta}


def llama(**ids) -> PretrainedConfig:
    two_heads = {"num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": False}
    return LlamaConfig(**SHAPE, **two_heads, **ids, rope_parameters=rope(1e4), rms_norm_eps=1e-5)


def qwen2(**ids) -> PretrainedConfig:
    two_heads = {"num_key_value_heads": 2, "tie_word_embeddings": True}
    return Qwen2Config(**SHAPE, **two_heads, **ids, rope_parameters=rope(1e6), rms_norm_eps=1e-6)


def phi3(**ids) -> PretrainedConfig:
    window = {"sliding_window": 64, "original_max_position_embeddings": CONTEXT, "tie_word_embeddings": False}
    return Phi3Config(**SHAPE, **window, **ids, rope_parameters=rope(1e4), rms_norm_eps=1e-5)


def mistral(**ids) -> PretrainedConfig:
    two_heads = {"num_key_value_heads": 2, "sliding_window": None, "tie_word_embeddings": False}
    return MistralConfig(**SHAPE, **two_heads, **ids, rope_parameters=rope(1e6), rms_norm_eps=1e-5)


# ----------------------------------------------------------------------------------------------------------- families


@dataclass(frozen=True)
class Family:
    """What tells one model family from another; make.py works from this and nothing else."""

    tokenizer: Callable[[Iterable[str]], Tokenizer]
    config: Callable[..., PretrainedConfig]
    bos: str
    eos: tuple[str, ...]  # the first is the tokenizer's, all of them end an answer
    pad: str
    told: dict = field(default_factory=dict)  # of tokenizer_config.json, beside what follows from the others
    published: dict = field(default_factory=dict)  # of config.json, as the published models have it
    dropped: tuple[str, ...] = ()  # of config.json, what they do not have
    shard_size: str = "1GB"
    steps: int = 320  # of training
    row: int = 160  # tokens of a training row: the longest answer must fit


FAMILIES = {
    "tiny-llama": Family(
        llama_tokenizer,
        llama,
        bos="<s>",
        eos=("</s>",),
        pad="<unk>",
        told={"add_bos_token": True, "additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]},
    ),
    "tiny-qwen2": Family(
        qwen_tokenizer,
        qwen2,
        bos="<|endoftext|>",
        eos=("<|im_end|>", "<|endoftext|>"),
        pad="<|endoftext|>",
        told={"bos_token": None, "unk_token": None, "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]},
        published={"sliding_window": 64, "max_window_layers": 2},  # and use_sliding_window false: no window
        dropped=("layer_types",),
        steps=800,
        row=256,
    ),
    "tiny-phi3": Family(
        phi3_tokenizer,
        phi3,
        bos="<s>",
        eos=("<|endoftext|>", "<|assistant|>", "<|end|>"),
        pad="<|endoftext|>",
        row=256,
    ),
    "tiny-mistral": Family(
        mistral_tokenizer,
        mistral,
        bos="<s>",
        eos=("</s>",),
        pad="</s>",
        told={"add_bos_token": True},
        dropped=("head_dim",),
        shard_size="1500KB",
        steps=500,
        row=256,
    ),
}


def template(name: str) -> str:
    return (Path(__file__).parent / "templates" / f"{name}.jinja").read_text("utf-8")
