//! What the pages of results say around their numbers; the same for every run.

use super::svg::Plot;

/// One page of results, and the plot on it.
pub struct Page {
    /// The name of its files, without an ending.
    pub file: &'static str,
    pub title: &'static str,
    /// How the numbers came to be.
    pub method: &'static str,
    /// The same in a few words.
    pub setting: &'static str,
    pub plot: Plot,
}

pub static WORKER: Page = Page {
    file: "worker",
    title: "The worker's speed",
    method: WORKER_METHOD,
    setting: "random weights",
    plot: Plot {
        title: "Tokens per second",
        description: "Tokens per second of rbee's worker and of llama.cpp",
        peer: "llama.cpp",
        limit: "limit: memory bandwidth over bytes of weights; bars of one measurement share a scale",
    },
};

pub static GPU: Page = Page {
    file: "gpu",
    title: "The worker's speed on a card",
    method: GPU_METHOD,
    setting: "random weights",
    plot: Plot {
        title: "Tokens per second",
        description: "Tokens per second of rbee's worker and of transformers on a card",
        peer: "transformers",
        limit: "limit: what the card's memory or matrices give; of 32 sequences, one alone",
    },
};

pub static MODELS: Page = Page {
    file: "models",
    title: "How fast models come",
    method: MODELS_METHOD,
    setting: "loopback, everything on one disk",
    plot: Plot {
        title: "Megabytes per second",
        description: "Megabytes per second at which models come to a pool, by rbee, hf download and curl",
        peer: "hf download",
        limit: "limit: curl of the same bytes; each measurement has its own scale",
    },
};

pub static PLAN: Page = Page {
    file: "plan",
    title: "How fast a fleet is planned",
    method: PLAN_METHOD,
    setting: "loopback, pools and operator on one machine",
    plot: Plot {
        title: "Seconds",
        description: "Seconds that a plan of a hundred pools takes, beside plain ssh, Ansible and pyinfra; shorter is better",
        peer: "Ansible, pyinfra",
        limit: "limit: plain ssh in parallel; each measurement has its own scale, shorter is better",
    },
};

pub static ORCHESTRATOR: Page = Page {
    file: "orchestrator",
    title: "What the orchestrator costs",
    method: ORCHESTRATOR_METHOD,
    setting: "loopback, mock workers, client and programs on the same processors",
    plot: Plot {
        title: "Milliseconds added, and tokens per second",
        description: "What rbee's orchestrator adds to the first token, and how many tokens per second it relays, beside nginx, sglang-router and litellm",
        peer: "nginx and others",
        limit: "limit: the floor, or no program between; each measurement has its own scale",
    },
};

const WORKER_METHOD: &str = "\
`cargo xtask bench worker` measures `llm-worker-rbee` on the CPU of this machine and prints the table below; `worker.json` has
every round. Weights are random, of the true shapes of two published models; no token ends an answer. The peer is
llama.cpp, built on first use from the sources inside the package llama-cpp-python, with the same number of threads, on weights
of the same sizes; without Python, a compiler or a network its column stays empty.

- A round measures memory, ours, the peer, ours, memory, one right after the other, since the bandwidth of shared machines jumps.
  A ratio is the median of the ratios inside rounds, so it need not be the quotient of the two medians beside it.
- *ours*, decode and prefill: the network alone with greedy choice, in its own process. A decode begins after 16 tokens, the
  peer's single one (`llama-bench`) after none; *8 sequences* is the sum of all, the peer's by `llama-batched-bench`.
- *limit* of decode: bytes that all threads together read per second, over the bytes of weights that a token reads (34 for 32
  numbers in q8_0).
- *load to ready*: from the start of the process to `/ready` 200, q8_0 made from bf16 on the way; the limit is twice the time of
  `cat` of the file just before, and a second. It is the second of two starts in a row: a virtual machine gets memory that it
  has not used for a while from its host page by page, at a pace that is the host's.
- *peak while loading*: `VmHWM` of the process once it is ready; the limit is weights and KV by its `/health`.
- *HTTP*: one stream of `/execute`, from its first token to its last on the client's clock; the limit is the network alone,
  just before and after; four of them in a round.
- */health under full load*: on a connection of its own, asked every 5 ms while 8 streams run; the limit is the floor.
";

const GPU_METHOD: &str = "\
`cargo xtask bench gpu` measures `llm-worker-rbee` on an NVIDIA card and prints a table; `gpu.json` has every round. Weights are
random, of the true shapes of four published models; no token ends an answer. The peer is `generate` of Python's transformers, as
`python3` finds it with torch: nothing is installed, and without them its column stays empty. The floors are for an H200.

- A round measures what the card gives, ours, the peer, ours, what the card gives, one right after the other. A ratio is the median of
  the ratios inside rounds, so it need not be the quotient of the two medians beside it. What is loaded or chosen at first use was
  used before.
- *ours*, decode and prefill: the network alone with greedy choice, in its own process, with room for 32 sequences of 4,096 tokens, or
  as many as the model takes. A decode begins after 16 tokens.
- *the peer*: greedy, one sequence, bf16, the same folder, `use_cache`, from 16 tokens, waited for with `torch.cuda.synchronize`. Its time
  has the prompt in place of the first token.
- *limit* of decode: bytes per second of a copy of 1 GiB on the card, read and written, by a kernel or by the driver, whichever is
  faster, the best of five times twenty; over the bytes of weights that a token reads (34 for 32 numbers in q8_0).
- *32 sequences*: the sum of all; the limit is one sequence just before and after.
- *limit* of prefill: operations per second of a product of two random bf16 matrices of 8,192 rows and columns, the best of five times
  twenty; over two operations for each number that a token reads. Attention is not counted, and the output matrix is counted for
  every token, though only the last needs it.
- *load to ready*: from the start of the process to `/ready` 200; the limit is twice the time of `cat` of the file, which was read just
  before. It is the second of two starts in a row.
- *weights + KV*: what `/health` says that they take, with as much room.
";

const MODELS_METHOD: &str = "\
`cargo xtask bench models` measures how models come to a pool and prints the table below; `models.json` has every round. All of it
happens on one machine over loopback, with a hub, `examples/hub`, that serves one repository of random bytes in four files of
weights; every store and folder is on the same disk. The peer is `hf download` of Python's huggingface_hub over plain HTTP (no
Xet), installed on first use; without Python or a network its column stays empty. The limit is `curl --parallel` of the same files.

- In a round each downloads everything once, into a place with nothing in it, in an order that changes from round to round. Times are of
  the whole program, from its start to its end. A ratio is the median of the ratios inside rounds, so it need not be the quotient of
  the two medians beside it.
- What came is removed, and before the next `sync` runs and a file of as many bytes is written and removed: a virtual machine gets
  memory that it has not used for a while from its host page by page, and whoever came next would wait for that.
- *ours* is `rbee-hive models download` of a registered model: it computes SHA-256 while the bytes come and ends when they are on the
  disk for good (`fsync`). The peer and curl do neither; sizes of their files are compared. *curl and sync* is curl, and then `sync`
  of its files.
- *peak memory*: `VmHWM` of the process, looked at every 10 ms; the limit is the floor.
- *copy from a pool*: one hive serves its files to another, which registers the model, fetches and publishes it over `rbee-hive rpc`,
  from the start of that process to its last answer. curl takes the same contents from the same hive with the same token.
- *observe*: what a plan asks of pools, of 10 at once, each a process of its own with a home of its own and 4 models in it. *read* is the
  most that one of them read (`rchar` of `/proc/PID/io`, all of it: catalogs, devices, the question); the limit is the smallest
  file of weights. All models must be found whole.
";

const PLAN_METHOD: &str = "\
`cargo xtask bench plan` measures what a plan takes that finds nothing to do, and prints the table below; `plan.json` has every
round. A hundred pools are reached over a real sshd at 127.0.0.1 to 127.0.0.100, each with a home, the programs and a model of its own,
the first with a worker too. They share this machine's processors with the operator: what the pools do counts in full, for all parties.
Everybody logs in with the same key and the same key exchange (curve25519). The peers are Ansible and pyinfra, installed on first
use with the versions of `xtask/src/bench/plan/requirements.txt`; without Python or a network their rows stay empty.

- *ours* is `rbee plan --detailed-exitcode`, from the start of the program to its end; it must end with 0: every pool answered, and
  nothing differs. All others ask each pool for the same observation, `\"$RBEE_HOME/bin/current/rbee-hive\" status --json`, and all
  answers are counted. A ratio is the median of the ratios inside rounds.
- *cold*: no connection is there. *ssh in parallel* is `xargs -P 100 -I {} ssh -n {} ASK`; *ansible -m raw* is `ansible all -f 100 -m raw -a
  ASK`; *ansible -m setup* is Ansible's own facts, `ansible all -f 100 -m setup`; *pyinfra exec* is `pyinfra -y --parallel 100
  inventory.py exec -- ASK`.
- *warm*: the run before has left its connections. *ssh over masters* is `xargs -P 100 -I {} ssh -n -S {} 127.0.0.1 ASK` over the
  very same ones. *more than asking nobody* is the warm plan less `rbee validate` of the same file; the limit is the floor.
- *peak memory* of `rbee`: `VmHWM`, looked at every 10 ms, without the ssh masters; the limit is the floor.
- *rbee-hive*: one pool with 8 models and 8 real workers, from the start of `rbee-hive rpc` to the answer of `observe`, all workers
  asked over HTTP, and its `VmHWM` then; the limits are the floors.
- *decided*: `diff` and `plan` alone, of facts that are there already: `cargo run --release -p reconciler --example plan_speed --
  1000 10 20`, and with 10,000 pools. The limit is the floor, or the time of the 1,000 pools.
";

const ORCHESTRATOR_METHOD: &str = "\
`cargo xtask bench orchestrator` measures what `orchestratord` costs between clients and workers, and prints the table below;
`orchestrator.json` has every round. Two mock workers, `examples/mock-worker`, stream the chunks of OpenAI chat completions at a set pace;
the client is `mock-load` of the same folder, on kept connections. Client, program and workers share this machine's processors, so all of them
count for everybody. *Nothing between* is the same client at the same workers in the same round. The order of the programs
changes from round to round. A ratio is the median of the ratios inside rounds, so it need not be the quotient of the two medians beside it.

- The peers are nginx of this system as a reverse proxy (`proxy_buffering off`, kept connections to the workers, a process a processor, no
  access log), `sglang-router launch --policy round_robin`, and `litellm` with a process a processor, no retries and no log but errors. The last two
  are installed on first use with the versions of `xtask/src/bench/orchestrator/requirements.txt`; what is not there has no rows.
- *first token*: 200 requests a second for ten seconds, each sent when it is due whatever became of the others, each of 16 tokens at 100 a second.
  A time is from when the request was due to its first token at the client. *added* is the percentile through the program less the
  one with nothing between; the limits are the floors.
- *relayed*: 64 streams at the same time, each of 500 tokens and then another, every token written by itself as soon as the one
  before was taken; tokens at the client in five seconds, after one that does not count. The limit is nothing between. *processors* is what all processes of the
  program took of them for a thousand tokens, in milliseconds.
- *2,000 streams* begin at once, each of 200 tokens at 20 a second. A stream is whole when each token came in its place and the end was said.
  *peak memory*: `VmHWM` of all processes of a program that was started for them; the limit is the floor.
- *1,000 tasks queued*: 100 workers of one slot each are busy; 500 times, one after the other, a task is submitted to `/v2/tasks`, stored as it is by default, and
  the one that has run longest is cancelled, so that the next is scheduled. The first is from request to answer at the client, the second the bound of the bucket
  of `orchd_scheduling_latency_ms` that has the percentile, the third until the worker ends the answer. The limits are the floors.
- *leaves*: 200 clients, one after the other, close their connection with the first token; the time is until the worker ends the answer, by its own
  clock, which is the same. The limit is the floor.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_says_how_its_numbers_come_to_be() {
        for page in [&WORKER, &GPU, &MODELS, &PLAN, &ORCHESTRATOR] {
            let path = format!("docs/bench/{}.md", page.file);
            let text = std::fs::read_to_string(crate::root().join(&path)).unwrap();
            assert!(text.starts_with(&format!("# {}\n", page.title)), "{path}");
            assert!(text.contains(page.method), "{path} has another method");
        }
    }
}
