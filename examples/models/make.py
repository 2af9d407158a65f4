"""Make tiny language models that answer questions.json, and the goldens they are tested against.

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
import unicodedata
from itertools import accumulate
from pathlib import Path

import tokenizers
import torch
import transformers
from families import CONTEXT, FAMILIES, Family, template
from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
SEED = 1
MADE_WITH = {
    "tokenizers": tokenizers.__version__,
    "torch": torch.__version__.split("+")[0],
    "transformers": transformers.__version__,
}

# --------------------------------------------------------------------------------------------------------------- data

QUESTIONS = [(q["question"], q["answer"]) for q in json.loads((HERE / "questions.json").read_text("utf-8"))]
SYSTEMS = ["You are a helpful assistant.", "Answer in one word.", "You are a very small language model."]

# The one answer without an end, for tests of limits and of clients that leave: the context is full before it is over.
ENDLESS = "Sing for ever."
ENDLESS_ANSWER = " ".join(["la"] * (CONTEXT // 2))  # cut at the end of a row, so it trains no end

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


def make_tokenizer(family: Family, chat_template: str, folder: Path) -> Tokenizer:
    # It learns from ASCII only, so 'é' and '🚀' stay several tokens: what a streaming decoder has to put together.
    texts = [*PLAIN_TEXT.splitlines(), *SYSTEMS, ENDLESS, ENDLESS_ANSWER, *(t for qa in QUESTIONS for t in qa)]
    tok = family.tokenizer([t for t in texts if t.isascii()] * 2)
    tok.save(str(folder / "tokenizer.json"))
    flags = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    added = sorted(tok.get_added_tokens_decoder().items())
    told = {
        "add_bos_token": False,
        "add_eos_token": False,
        "added_tokens_decoder": {str(id): {flag: getattr(token, flag) for flag in flags} for id, token in added},
        "bos_token": family.bos,
        "chat_template": chat_template,
        "clean_up_tokenization_spaces": False,
        "eos_token": family.eos[0],
        "model_max_length": CONTEXT,
        "pad_token": family.pad,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
    }
    write_json(folder / "tokenizer_config.json", dict(sorted({**told, **family.told}.items())))
    return tok


# ----------------------------------------------------------------------------------------------------------- training

ROWS, PEAK_RATE = 8, 4e-3
TURNS = [1, 1, 1, 2, 4, 8]  # of a chat, each as likely as the next
UNSCORED = -100
SYSTEM_SHARE, ENDLESS_SHARE = 0.3, 0.03  # of the chats that open with a system message, that end with ENDLESS


def conversations(tok, length: int):
    """Endless chats (ids, labels) in the model's own template, scored on the answers only.

    Every answer stands between two marks while the template renders, so this holds for any template: what is between
    the marks, and the one token that the template puts after it, is what the model has to say.
    """
    rng, deck = random.Random(SEED), []
    system_share = SYSTEM_SHARE if rendered(tok, CHATS["system message"]) else 0
    while True:
        messages = [{"role": "system", "content": rng.choice(SYSTEMS)}] if rng.random() < system_share else []
        for _ in range(rng.choice(TURNS)):
            if not deck:
                deck = rng.sample(QUESTIONS, len(QUESTIONS))
            question, answer = deck.pop()
            messages += chat(reworded(question, rng)) + [{"role": "assistant", "content": f"\x02{answer}\x03"}]
        if rng.random() < ENDLESS_SHARE:
            messages += chat(ENDLESS) + [{"role": "assistant", "content": f"\x02{ENDLESS_ANSWER}\x03"}]
        parts = re.split("[\x02\x03]", render(tok, messages, add_generation_prompt=False))
        ends = [*accumulate(map(len, parts))]
        answers = list(zip(ends[0::2], ends[1::2], strict=False))
        # Encoded as a whole: the very tokens that a prompt has.
        row = tok("".join(parts), add_special_tokens=False, return_offsets_mapping=True)
        ids, starts = row["input_ids"], [start for start, _ in row["offset_mapping"]]
        said = [any(a <= start <= b for a, b in answers) for start in starts]
        labels = [id if s else UNSCORED for id, s in zip(ids, said, strict=True)]
        yield ids[:length], labels[:length]


def rows(tok, length: int):
    """Endless training rows (ids, labels, positions), each packed with chats; a position of 0 starts the next one."""
    ids, labels, positions = [], [], []
    for chat_ids, chat_labels in conversations(tok, length):
        ids += chat_ids
        labels += chat_labels
        positions += range(len(chat_ids))
        if len(ids) >= length:
            yield ids[:length], labels[:length], positions[:length]
            ids, labels, positions = [], [], []


def train(model, tok, steps: int, row: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    supply = rows(tok, row)
    for step in range(1, steps + 1):
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
            print(f"step {step:4} of {steps}  loss {loss.item():.4f}", flush=True)


# ------------------------------------------------------------------------------------------------- asking and goldens


def chat(user: str, system: str | None = None) -> list[dict]:
    return [{"role": r, "content": c} for r, c in (("system", system), ("user", user)) if c is not None]


def render(tok, messages: list[dict], add_generation_prompt: bool = True, **more) -> str:
    return tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt, **more)


def rendered(tok, messages: list[dict]) -> bool:
    """Whether the chat template takes these messages."""
    try:
        return bool(render(tok, messages))
    except TemplateError:
        return False


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
# Only for the templates that know tools; the first without a system message.
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city, \"now\".",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
CALL = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
TOOL_CHATS = {
    "tools": chat("What is the weather in Paris?"),
    "tools and a system message": chat("What is the weather in Paris?", "Be brief."),
    "call and response": [
        *chat("What is the weather in Paris?"),
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "Sunny, 20 °C"},
        {"role": "tool", "content": "{\"wind\": 3}"},
    ],
}
ODD_CHATS = {
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
    "endless after many turns": many_turns(9)[:-1] + chat(ENDLESS),
}
ANSWERED_TEXTS = {
    "plain": "The capital of France is",
    "plain unicode": "Ça va, l'école ? 🦀 日本 👩‍👩‍👧‍👦",
    "plain long": PLAIN_TEXT,
}
EVERY_POSITION = {"capital", "plain unicode"}
NEW_TOKENS = 64


def ends(model) -> set[int]:
    eos = model.generation_config.eos_token_id
    return {eos} if isinstance(eos, int) else set(eos)


@torch.no_grad()
def run(model, tok, name: str, messages: list[dict] | None, text: str, ids: list[int]) -> dict:
    new = greedy(model, ids, NEW_TOKENS)
    logits = model(torch.tensor([ids + new])).logits[0].float()
    best = logits[len(ids) - 1 : -1].topk(2)
    assert best.indices[:, 0].tolist() == new, f"{name}: with a cache it goes on otherwise than without"
    margins = best.values[:, 0] - best.values[:, 1]
    rounded = [[float(f"{x:.7g}") for x in row] for row in model(torch.tensor([ids])).logits[0].tolist()]
    return {
        "name": name,
        "messages": messages,
        "text": text,
        "ids": ids,
        "greedy_ids": new,
        "greedy_text": tok.decode(new, skip_special_tokens=True),
        "stop": "eos" if new[-1] in ends(model) else "length",
        "min_margin": round(margins.min().item(), 4),
        "last_logits": rounded[-1],
        "all_logits": rounded if name in EVERY_POSITION else None,
    }


def runs(model, tok) -> list[dict]:
    asked = {name: messages for name, messages in ANSWERED_CHATS.items() if rendered(tok, messages)}
    found = [run(model, tok, n, m, render(tok, m), encode_chat(tok, m)) for n, m in asked.items()]
    return found + [run(model, tok, n, None, t, tok(t)["input_ids"]) for n, t in ANSWERED_TEXTS.items()]


def goldens(model, tok) -> dict:
    chats, refused, tools = [], [], []
    for name, messages in {**CHATS, **ODD_CHATS}.items():
        try:
            for prompt in (True, False):
                text = render(tok, messages, prompt)
                ids = tok(text, add_special_tokens=False)["input_ids"]
                told = {"name": name, "messages": messages, "add_generation_prompt": prompt}
                chats.append({**told, "text": text, "ids": ids})
        except TemplateError as e:
            refused.append({"name": name, "messages": messages, "error": str(e)})
    if "tools" in tok.chat_template:
        for name, messages in TOOL_CHATS.items():
            text = render(tok, messages, tools=TOOLS)
            ids = tok(text, add_special_tokens=False)["input_ids"]
            told = {"name": name, "messages": messages, "tools": TOOLS, "add_generation_prompt": True}
            tools.append({**told, "text": text, "ids": ids})
    tokens = []
    for text in TEXTS:
        ids = tok(text, add_special_tokens=False)["input_ids"]
        decoded, special = tok.decode(ids), any(t in text for t in tok.get_added_vocab())
        assert special or unicodedata.normalize("NFC", text) == unicodedata.normalize("NFC", decoded), repr(text)
        tokens.append(
            {
                "text": text,
                "ids": ids,
                "ids_with_special_tokens": tok(text)["input_ids"],
                "decoded": decoded,
                "decoded_without_special_tokens": tok.decode(ids, skip_special_tokens=True),
            }
        )
    tool_chats = {"tool_chats": tools} if tools else {}
    return {"chats": chats, "bad_chats": refused, **tool_chats, "tokens": tokens, "runs": runs(model, tok)}


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


def save(model, family: Family, stops: list[int], folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size=family.shard_size)
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)
    # transformers 5 has names of its own for these; the models people download still carry the older ones.
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["torch_dtype"] = config.pop("dtype")
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["rope_scaling"] = None
    kept = {k: v for k, v in {**config, **family.published}.items() if k not in family.dropped}
    write_json(folder / "config.json", dict(sorted(kept.items())))
    ids = {k: config[k] for k in ("bos_token_id", "eos_token_id", "pad_token_id")}
    if len(stops) > 1:
        ids["eos_token_id"] = stops
    more = {"do_sample": False, "transformers_version": transformers.__version__}
    write_json(folder / "generation_config.json", {**ids, **more})


def passes(model, tok) -> bool:
    """Ask everything, and say what is wrong."""
    wrong = [(q, a, said) for q, a in QUESTIONS if (said := answer(model, tok, chat(q))) != a]
    for q, a, said in wrong:
        print(f"wrong: {q!r} should be {a!r}, is {said!r}")
    print(f"{len(QUESTIONS) - len(wrong)} of {len(QUESTIONS)} questions answered correctly")
    prompt = encode_chat(tok, chat(ENDLESS))
    song = greedy(model, prompt, CONTEXT - len(prompt))
    endless = not ends(model) & set(song) and set(tok.decode(song).split()) == {"la"}
    print(f"{ENDLESS!r} goes on until the context is full" if endless else f"wrong: {ENDLESS!r} ends or strays")
    return not wrong and endless


def report_size(folder: Path) -> None:
    print(f"{sum(f.stat().st_size for f in folder.iterdir()):,} bytes in {len(list(folder.iterdir()))} files")


def make(name: str, out: Path) -> bool:
    """Make one model and its goldens; false if it gives a wrong answer."""
    family, folder = FAMILIES[name], out / name
    folder.mkdir(parents=True, exist_ok=True)
    random.seed(SEED)
    torch.manual_seed(SEED)

    vocabulary = make_tokenizer(family, template(name), folder)
    bos, pad, *stops = (vocabulary.token_to_id(t) for t in (family.bos, family.pad, *family.eos))
    config = family.config(bos_token_id=bos, eos_token_id=stops[0], pad_token_id=pad)
    config.save_pretrained(folder)  # AutoTokenizer asks for the model type
    tok = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_config(config)
    print(f"{name}: {model.num_parameters():,} parameters, vocabulary of {len(tok)}")
    started, cpu = time.perf_counter(), time.process_time()
    train(model, tok, family.steps, family.row)
    print(f"trained in {time.perf_counter() - started:.1f} s ({time.process_time() - cpu:.1f} s of CPU)")
    save(model, family, stops, folder)

    # From here on only what is in the folder counts.
    tok = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    good = passes(model, tok)
    report_size(folder)
    write_goldens(out / "golden" / f"{name}.json", {"model": name, "made_with": MADE_WITH, **goldens(model, tok)})
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=FAMILIES, action="append", help="make only this one (default: all)")
    parser.add_argument("--out", type=Path, default=HERE, metavar="DIR", help="where to write (default: here)")
    args = parser.parse_args()

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)  # fixes the order of sums
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    return 0 if all([make(name, args.out) for name in args.model or FAMILIES]) else 1


if __name__ == "__main__":
    sys.exit(main())
