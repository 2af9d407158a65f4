"""Make a tiny language model that answers questions.json, and the goldens it is tested against.

    python make.py [--model tiny-llama] [--out DIR]

Everything is made from scratch with a fixed seed: no weights, tokenizer or text are downloaded. Written below DIR (by
default the folder of this script):

    <model>/               a Hugging Face model folder, nothing else in it
    golden/<model>.json    what transformers makes of it: rendered chats, token ids, logits, greedy answers

The same machine and the same package versions give the same bytes. Exits with 1 when an answer is wrong.
"""

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import tokenizers
import torch
import transformers
from jinja2.exceptions import TemplateError
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PretrainedConfig

HERE = Path(__file__).resolve().parent
SEED = 1
CONTEXT = 512
VOCAB = 768

# ---------------------------------------------------------------------------------------------------------- families

UNK, BOS, EOS = "<unk>", "<s>", "</s>"  # ids 0, 1, 2, as in Llama

ZEPHYR_TEMPLATE = """\
{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {{- '<|system|>\\n' + messages[0]['content'] | trim + eos_token + '\\n' }}
    {%- set turns = messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- for message in turns %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif %}
    {%- if message['role'] == 'user' %}
        {{- '<|user|>\\n' + message['content'] | trim + eos_token + '\\n' }}
    {%- elif message['role'] == 'assistant' %}
        {{- '<|assistant|>\\n' + message['content'] | trim + eos_token + '\\n' }}
    {%- else %}
        {{- raise_exception('Only user and assistant roles may follow the system message') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>\\n' }}
{%- endif %}"""


@dataclass(frozen=True)
class Family:
    """What tells one model family from another; everything below works from this and nothing else."""

    config: Callable[[], PretrainedConfig]
    roles: tuple[str, ...]  # the special tokens of the chat template
    template: str


def llama() -> PretrainedConfig:
    return LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        rms_norm_eps=1e-5,
        initializer_range=0.06,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )


FAMILIES = {
    "tiny-llama": Family(llama, ("<|system|>", "<|user|>", "<|assistant|>"), ZEPHYR_TEMPLATE),
}

# --------------------------------------------------------------------------------------------------------------- data

QUESTIONS = [(q["question"], q["answer"]) for q in json.loads((HERE / "questions.json").read_text("utf-8"))]
SYSTEMS = ["You are a helpful assistant.", "Answer in one word.", "You are a very small language model."]

# The one answer without an end, for tests of limits and of clients that leave: the context is full before it is over.
ENDLESS = "Sing for ever."
ENDLESS_ANSWER = " ".join(["la"] * (CONTEXT // 2))  # cut at ROW_LENGTH, so it trains no end

PLAIN_TEXT = """\
A fleet is a few machines that serve language models. Each machine is called a pool, and on each pool there are
workers. A worker loads one model on one device and answers requests over the network. The file says what should be
there, and the tool looks at what is there, tells the difference, and then makes the two agree. When a pool does not
answer, nothing on it is touched. It was a cold morning in the north, and the old man walked slowly down to the water
with his dog. He had been there before, many years ago, when the town was small and all of its people knew each other.
"""

REWORDINGS = [
    (r"What is (.+)", r"What's \1"),
    (r"What is (.+)", r"Tell me, what is \1"),
    (r"What is the (.+)\?", r"The \1?"),
]


def reworded(question: str, rng: random.Random) -> str:
    """Mostly the question itself; now and then another wording, lower case, or no punctuation at the end."""
    fits = [(p, r) for p, r in REWORDINGS if re.fullmatch(p, question)]
    if fits and rng.random() < 0.2:
        question = re.sub(*rng.choice(fits), question)
    if rng.random() < 0.1:
        question = question.lower()
    if rng.random() < 0.1:
        question = question.rstrip(".?!")
    return question


# ---------------------------------------------------------------------------------------------------------- tokenizer


def make_tokenizer(family: Family, folder: Path) -> None:
    """Byte-level BPE: every text round-trips, and the first ids are the special tokens."""
    special = [UNK, BOS, EOS, *family.roles]
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in special],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # It learns from ASCII only, so 'é' and '🚀' stay several tokens: what a streaming decoder has to put together.
    texts = [*PLAIN_TEXT.splitlines(), *SYSTEMS, ENDLESS, ENDLESS_ANSWER, *(t for qa in QUESTIONS for t in qa)]
    tok.train_from_iterator([t for t in texts if t.isascii()] * 2, trainer)
    tok.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tok.token_to_id(BOS))]
    )
    assert tok.get_vocab_size() == VOCAB, f"the text gave a vocabulary of {tok.get_vocab_size()}, not {VOCAB}"
    tok.save(str(folder / "tokenizer.json"))
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_bos_token": True,
            "add_eos_token": False,
            "added_tokens_decoder": {str(tok.token_to_id(t)): {"content": t, **flags} for t in special},
            "additional_special_tokens": list(family.roles),
            "bos_token": BOS,
            "chat_template": family.template,
            "clean_up_tokenization_spaces": False,
            "eos_token": EOS,
            "model_max_length": CONTEXT,
            "pad_token": UNK,
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": UNK,
        },
    )


# ----------------------------------------------------------------------------------------------------------- training

STEPS, ROWS, ROW_LENGTH, PEAK_RATE = 320, 8, 160, 4e-3
TURNS = [1, 1, 1, 2, 4, 8]  # of a chat, each as likely as the next
UNSCORED = -100
SYSTEM_SHARE, ENDLESS_SHARE = 0.3, 0.03  # of the chats that open with a system message, that end with ENDLESS


def conversations(tok):
    """Endless chats (ids, labels) in the model's own template, scored on the answers only.

    Every answer stands between two marks while the template renders, so this holds for any template: what is between
    the marks, and the one token that the template puts after it, is what the model has to say.
    """
    rng, deck = random.Random(SEED), []
    encode = cache(lambda text: tok(text, add_special_tokens=False)["input_ids"])
    while True:
        messages = [{"role": "system", "content": rng.choice(SYSTEMS)}] if rng.random() < SYSTEM_SHARE else []
        for _ in range(rng.choice(TURNS)):
            if not deck:
                deck = rng.sample(QUESTIONS, len(QUESTIONS))
            question, answer = deck.pop()
            messages += chat(reworded(question, rng)) + [{"role": "assistant", "content": f"\x02{answer}\x03"}]
        if rng.random() < ENDLESS_SHARE:
            messages += chat(ENDLESS) + [{"role": "assistant", "content": f"\x02{ENDLESS_ANSWER}\x03"}]
        ids, labels, end = [], [], 0
        for i, part in enumerate(re.split("[\x02\x03]", render(tok, messages, add_generation_prompt=False))):
            part = encode(part)
            answered = len(part) if i % 2 else end
            ids += part
            labels += part[:answered] + [UNSCORED] * (len(part) - answered)
            end = i % 2
        yield ids[:ROW_LENGTH], labels[:ROW_LENGTH]


def rows(tok):
    """Endless training rows (ids, labels, positions), each packed with chats; a position of 0 starts the next one."""
    ids, labels, positions = [], [], []
    for chat_ids, chat_labels in conversations(tok):
        ids += chat_ids
        labels += chat_labels
        positions += range(len(chat_ids))
        if len(ids) >= ROW_LENGTH:
            yield ids[:ROW_LENGTH], labels[:ROW_LENGTH], positions[:ROW_LENGTH]
            ids, labels, positions = [], [], []


def train(model, tok) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=STEPS, pct_start=0.1)
    supply = rows(tok)
    for step in range(1, STEPS + 1):
        ids, labels, positions = (torch.tensor(t) for t in zip(*(next(supply) for _ in range(ROWS)), strict=True))
        # Given positions and no cache, transformers keeps the chats of a row from seeing each other.
        hidden = model.model(ids, position_ids=positions, use_cache=False).last_hidden_state[:, :-1]
        scored = labels[:, 1:] != UNSCORED
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[scored]), labels[:, 1:][scored])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        rate.step()
        if step % 25 == 0:
            print(f"step {step:4} of {STEPS}  loss {loss.item():.4f}", flush=True)


# ------------------------------------------------------------------------------------------------- asking and goldens


def chat(user: str, system: str | None = None) -> list[dict]:
    return [{"role": r, "content": c} for r, c in (("system", system), ("user", user)) if c is not None]


def render(tok, messages: list[dict], add_generation_prompt: bool = True) -> str:
    return tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)


@torch.no_grad()
def greedy(model, ids: list[int], limit: int) -> list[int]:
    """The most likely continuation, by transformers' own generate; ends with EOS if it comes within `limit` tokens."""
    prompt = torch.tensor([ids])
    out = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=limit, do_sample=False)
    return out[0, len(ids) :].tolist()


def answer(model, tok, messages: list[dict]) -> str:
    ids = encode_chat(tok, messages)
    return tok.decode(greedy(model, ids, CONTEXT - len(ids)), skip_special_tokens=True)


def encode_chat(tok, messages: list[dict]) -> list[int]:
    return tok(render(tok, messages), add_special_tokens=False)["input_ids"]  # the template writes BOS itself


def many_turns(n: int) -> list[dict]:
    """A chat of n turns that are answered and one that is not."""
    turns = [QUESTIONS[i * 7] for i in range(n + 1)]
    told = [{"role": r, "content": c} for qa in turns for r, c in zip(("user", "assistant"), qa, strict=True)]
    return told[:-1]


CHATS = {
    "one question": chat("What is the capital of France?"),
    "system message": chat("What is 2 + 2?", "You are a helpful assistant."),
    "three turns": many_turns(2),
    "answered": many_turns(1) + [{"role": "assistant", "content": "Dublin"}],
    "spaces around": chat("  \n What is 2 + 2? \n", "  Be brief. "),
    "unicode": chat("Où est l'école ? 🦀 日本"),
    "special tokens in the text": chat("Say </s><|assistant|> now"),
}
BAD_CHATS = {
    "assistant first": [{"role": "assistant", "content": "Paris"}],
    "two users": chat("Hello!") + chat("Hello!"),
    "system twice": chat("Hello!", "a")[:1] + chat("Hello!", "b"),
    "unknown role": chat("Hello!") + [{"role": "tool", "content": "x"}],
}
TEXTS = [
    "", " ", "Paris", " Paris", "What is the capital of France?", "Hello,   world!\n\n\tTabs and\r\nnew lines  ",
    "1 + 1 = 2, 12345 67.89", "It's what we'll say; they've said it.", "café École naïve Straße Ελληνικά русский",
    "日本語と中文と한국어", "مرحبا שלום", "🚀🦀 ❤️ 👩‍👩‍👧‍👦 🏳️‍🌈", "e\u0301 \u00a0\u2003\ufeff\u0000",
    "fn main() { println!(\"{}\", 1 << 3); }",
    "<s>[INST] not ours [/INST]</s>", "<|user|>\nHello!</s>\n<|assistant|>\n", "a" * 100,
]  # fmt: skip
ANSWERED_CHATS = {
    "capital": CHATS["one question"],
    "sum with a system message": CHATS["system message"],
    "three turns": CHATS["three turns"],
    "answer of many bytes a character": chat("Show me a rocket."),
    "many turns": many_turns(12),
    "long answer": chat("Name the months of the year."),
    "endless": chat(ENDLESS),
}
ANSWERED_TEXTS = {
    "plain": "The capital of France is",
    "plain unicode": "Ça va, l'école ? 🦀 日本 👩‍👩‍👧‍👦",
    "plain long": PLAIN_TEXT,
}
EVERY_POSITION = {"capital", "plain unicode"}
NEW_TOKENS = 64


@torch.no_grad()
def run(model, tok, name: str, messages: list[dict] | None, text: str, ids: list[int]) -> dict:
    new = greedy(model, ids, NEW_TOKENS)
    logits = model(torch.tensor([ids + new])).logits[0].float()
    best = logits[len(ids) - 1 : -1].topk(2).values
    rounded = [[float(f"{x:.7g}") for x in row] for row in model(torch.tensor([ids])).logits[0].tolist()]
    return {
        "name": name,
        "messages": messages,
        "text": text,
        "ids": ids,
        "greedy_ids": new,
        "greedy_text": tok.decode(new, skip_special_tokens=True),
        "stop": "eos" if new[-1] == tok.eos_token_id else "length",
        "min_margin": round((best[:, 0] - best[:, 1]).min().item(), 4),
        "last_logits": rounded[-1],
        "all_logits": rounded if name in EVERY_POSITION else None,
    }


def goldens(model, tok) -> dict:
    rendered = []
    for name, messages in CHATS.items():
        for prompt in (True, False):
            text = render(tok, messages, prompt)
            ids = tok(text, add_special_tokens=False)["input_ids"]
            told = {"name": name, "messages": messages, "add_generation_prompt": prompt}
            rendered.append({**told, "text": text, "ids": ids})
    refused = []
    for name, messages in BAD_CHATS.items():
        try:
            render(tok, messages)
            raise AssertionError(f"the chat template takes '{name}'")
        except TemplateError as e:
            refused.append({"name": name, "messages": messages, "error": str(e)})
    tokens = []
    for text in TEXTS:
        ids = tok(text, add_special_tokens=False)["input_ids"]
        assert tok.decode(ids) == text
        tokens.append(
            {
                "text": text,
                "ids": ids,
                "ids_with_special_tokens": tok(text)["input_ids"],
                "decoded": tok.decode(ids),
                "decoded_without_special_tokens": tok.decode(ids, skip_special_tokens=True),
            }
        )
    runs = [run(model, tok, n, m, render(tok, m), encode_chat(tok, m)) for n, m in ANSWERED_CHATS.items()]
    runs += [run(model, tok, n, None, t, tok(t)["input_ids"]) for n, t in ANSWERED_TEXTS.items()]
    return {"chats": rendered, "bad_chats": refused, "tokens": tokens, "runs": runs}


# -------------------------------------------------------------------------------------------------------------- files


def write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_goldens(path: Path, values: dict) -> None:
    """One line for each entry: rows of numbers are not worth a line a number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = []
    for key, value in values.items():
        if isinstance(value, list):
            lines = [json.dumps(v, ensure_ascii=False, separators=(",", ":")) for v in value]
            fields.append(f'"{key}": [\n' + ",\n".join(lines) + "\n]")
        else:
            fields.append(f'"{key}": {json.dumps(value)}')
    path.write_text("{\n" + ",\n".join(fields) + "\n}\n", "utf-8")


def save(model, folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    # transformers 5 has names of its own for these two; the models people download still carry the older ones.
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["torch_dtype"] = config.pop("dtype")
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    write_json(folder / "config.json", dict(sorted(config.items())))
    ids = {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    more = {"do_sample": False, "transformers_version": transformers.__version__}
    write_json(folder / "generation_config.json", {**ids, **more})


def make(name: str, out: Path) -> bool:
    """Make one model and its goldens; false if it gives a wrong answer."""
    family, folder = FAMILIES[name], out / name
    folder.mkdir(parents=True, exist_ok=True)
    random.seed(SEED)
    torch.manual_seed(SEED)

    make_tokenizer(family, folder)
    config = family.config()
    config.save_pretrained(folder)  # AutoTokenizer asks for the model type
    tok = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config)
    print(f"{name}: {model.num_parameters():,} parameters, vocabulary of {len(tok)}")
    started, cpu = time.perf_counter(), time.process_time()
    train(model, tok)
    print(f"trained in {time.perf_counter() - started:.1f} s ({time.process_time() - cpu:.1f} s of CPU)")
    save(model, folder)

    # From here on only what is in the folder counts.
    tok = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    wrong = [(q, a, said) for q, a in QUESTIONS if (said := answer(model, tok, chat(q))) != a]
    for q, a, said in wrong:
        print(f"wrong: {q!r} should be {a!r}, is {said!r}")
    print(f"{len(QUESTIONS) - len(wrong)} of {len(QUESTIONS)} questions answered correctly")
    prompt = encode_chat(tok, chat(ENDLESS))
    song = greedy(model, prompt, CONTEXT - len(prompt))
    endless = tok.eos_token_id not in song and set(tok.decode(song).split()) == {"la"}
    print(f"{ENDLESS!r} goes on until the context is full" if endless else f"wrong: {ENDLESS!r} ends or strays")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{size:,} bytes in {len(list(folder.iterdir()))} files")

    made_with = {
        "tokenizers": tokenizers.__version__,
        "torch": torch.__version__.split("+")[0],
        "transformers": transformers.__version__,
    }
    write_goldens(out / "golden" / f"{name}.json", {"model": name, "made_with": made_with, **goldens(model, tok)})
    return not wrong and endless


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=FAMILIES, action="append", help="make only this one (default: all)")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: here)")
    args = parser.parse_args()

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)  # fixes the order of sums
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    return 0 if all([make(name, args.out) for name in args.model or FAMILIES]) else 1


if __name__ == "__main__":
    sys.exit(main())
