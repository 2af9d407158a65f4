"""How fast `generate` of transformers is: DEVICE [FOLDER].

Says in a line of JSON what is here. With the folder of a model it loads that in bf16 first, and then answers each line
`decode 1 TOKENS` on stdin with a line of JSON: greedy tokens per second of one sequence, after a prompt of 16.
"""

import json
import sys
import time

import torch
import transformers

PROMPT = 16


def say(answer):
    print(json.dumps(answer), flush=True)


def wait(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def load(folder, device):
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    key = "dtype" if version >= (4, 56) else "torch_dtype"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, **{key: torch.bfloat16})
    # No token ends an answer, whatever the family does by default.
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.to(device).eval()


def decode(model, device, tokens):
    prompt = (torch.arange(PROMPT, device=device) * 7919 + 17) % model.config.vocab_size
    prompt = prompt.unsqueeze(0)
    wait(device)
    start = time.perf_counter()
    with torch.inference_mode():
        answer = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            use_cache=True,
            min_new_tokens=tokens,
            max_new_tokens=tokens,
        )
    wait(device)
    seconds = time.perf_counter() - start
    if answer.shape[1] != PROMPT + tokens:
        raise SystemExit(f"the answer has {answer.shape[1] - PROMPT} tokens, not {tokens}")
    return tokens / seconds


def main():
    device = torch.device(sys.argv[1])
    # An error where there is no such device.
    torch.zeros(1, device=device)
    about = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
    if len(sys.argv) == 2:
        say(about)
        return
    model = load(sys.argv[2], device)
    decode(model, device, PROMPT)
    say(about)
    for line in sys.stdin:
        _, _, tokens = line.split()
        say({"tokens_per_s": decode(model, device, int(tokens))})


main()
