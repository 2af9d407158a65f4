//! The sections of the page. Together the examples of the sections that are keys of the file are a fleet.

/// A section: what it is called, the type that it describes, and an example.
pub struct Section {
    pub title: &'static str,
    /// Its name in the schema; empty for the whole file.
    pub definition: &'static str,
    pub example: &'static str,
}

pub const SECTIONS: &[Section] = &[
    Section {
        title: "The file",
        definition: "",
        example: "\
version: 1
fleet: home
max_outage: 2m
",
    },
    Section {
        title: "pools",
        definition: "Pool",
        example: "\
pools:
  here: { connect: local, devices: [cpu] }
  box:
    connect: ssh://me@box.home.arpa:22
    devices: [cpu, cuda:0]
    advertise: 192.168.1.21
    host_keys: accept-new
    supervise: systemd
",
    },
    Section {
        title: "models",
        definition: "Model",
        example: "\
models:
  tiny: { source: ./tiny-llama, dtype: f32 }
  qwen:
    source: hf:Qwen/Qwen2.5-0.5B-Instruct@main
    quantize: q8_0
    max_outage: 0s
    canary: { prompt: \"What is 2 + 3?\", expect: \"5\" }
    protect: true
",
    },
    Section {
        title: "canary",
        definition: "Canary",
        example: "\
models:
  tiny:
    source: ./tiny-llama
    canary: { prompt: \"What is the capital of France?\", expect: Paris, max_tokens: 8 }
  qwen:
    source: hf:Qwen/Qwen2.5-0.5B-Instruct
    canary: { prompt: \"Hello\" }     # any text will do
",
    },
    Section {
        title: "workers",
        definition: "Worker",
        example: "\
workers:
  chat:  { model: qwen, on: [\"*/cpu\"], slots: 8, context: 4096 }
  every: { models: [tiny, qwen], on: [box/cuda:0, here/cpu], replicas: 2, protect: true }
  probe: { model: qwen, on: [here/cpu], ephemeral: true }
",
    },
    Section {
        title: "defaults",
        definition: "Defaults",
        example: "\
defaults:
  worker: { slots: 4, context: 2048 }
",
    },
    Section {
        title: "defaults.worker",
        definition: "WorkerDefaults",
        example: "\
defaults: { worker: { slots: 4 } }     # of `chat` above, its own 8 hold
",
    },
    Section {
        title: "orchestrator",
        definition: "Orchestrator",
        example: "\
orchestrator:
  pool: here
  listen: 0.0.0.0:8080
  store: sqlite
  scheduling: least-loaded
  queue: 500
  when_full: shed-batch
  supervise: systemd
  tenants: ./tenants.yaml
  policy: ./policy.rhai
",
    },
    Section {
        title: "checks",
        definition: "Check",
        example: "\
checks:
  smoke: { workers: \"*\", prompt: \"What is the capital of France?\", expect: Paris, max_tokens: 16 }
  sums:  { workers: [chat, every], prompt: \"What is 2 + 3?\", pattern: '^\\s*5\\b' }
",
    },
];
