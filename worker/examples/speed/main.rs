//! How fast the network alone is, without HTTP: `speed FOLDER q8_0|bf16 [DEVICE [SLOTS]]`.
//!
//! Loads the model onto the device (the CPU), with so many slots (8), says in a line of JSON how that went, then answers each
//! line on stdin with a line of JSON.
//!
//! | question | measures |
//! |---|---|
//! | `decode SEQUENCES TOKENS` | greedy decoding of so many tokens a sequence, all in one batch |
//! | `prefill TOKENS` | a prompt, to the logits of its last token |
//! | `context SHORT LONG TOKENS` | decoding with little and with much before it, in turns |
//! | `bandwidth` | reading memory with all threads of the CPU |
//! | `copy` | copying memory of the device |
//! | `matmul` | multiplying large matrices on the device, bf16 on a card, f32 on the CPU |

mod bandwidth;
mod card;
mod measure;

use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, bail};
use pool_core::device::Device;
use pool_core::weights::{Dtype, Quantization};
use serde_json::{Value, json};
use worker::cpu::Tier;
use worker::model::{Config, Model, Options};

use bandwidth::Bandwidth;
use card::Card;
use measure::Measure;

/// Sequences that fit at once, unless told otherwise.
const SLOTS: u32 = 8;
/// Tokens of a sequence, where the model has that many.
const CONTEXT: usize = 4096;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (dir, kept, more) = match args.as_slice() {
        [dir, kept, more @ ..] if more.len() <= 2 => (dir, kept, more),
        _ => bail!("usage: speed FOLDER q8_0|bf16 [DEVICE [SLOTS]]"),
    };
    let device = more.first().map_or(Ok(Device::Cpu), |word| word.parse())?;
    let slots = more.get(1).map_or(Ok(SLOTS), |word| word.parse());
    let slots = slots.context("SLOTS is a number")?;
    let (dtype, quantize) = match kept.as_str() {
        "q8_0" => (Dtype::Auto, Some(Quantization::Q8_0)),
        "bf16" => (Dtype::Bf16, None),
        other => bail!("weights are kept as q8_0 or bf16, not as {other}"),
    };
    let dir = PathBuf::from(dir);
    let context = Config::read(&dir)?.context.min(CONTEXT);
    let start = Instant::now();
    let options = Options {
        dir,
        device,
        context: Some(u32::try_from(context)?),
        slots,
        dtype,
        quantize,
    };
    let model = Model::load(&options, &|_| {})?;
    let memory = model.network.memory();
    say(&json!({
        "load_s": start.elapsed().as_secs_f64(),
        "weights": memory.weights,
        "kv": memory.kv,
        "threads": worker::threads::count(),
        "tier": Tier::best().name(),
    }))?;
    let mut asked = Asked {
        measure: Measure::new(model.network)?,
        bandwidth: None,
        card: Card::open(device)?,
    };
    for line in std::io::stdin().lock().lines() {
        say(&asked.answer(&line?)?)?;
    }
    Ok(())
}

/// What answers are made of.
struct Asked {
    measure: Measure,
    /// Made when it is first asked for: it takes a gigabyte.
    bandwidth: Option<Bandwidth>,
    card: Card,
}

impl Asked {
    fn answer(&mut self, question: &str) -> anyhow::Result<Value> {
        let mut words = question.split_whitespace();
        let what = words.next().unwrap_or_default();
        let numbers: Vec<usize> = words
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("`{question}`"))?;
        match (what, numbers.as_slice()) {
            ("decode", &[sequences, tokens]) => {
                Ok(json!({ "tokens_per_s": self.measure.decode(sequences, tokens)? }))
            }
            ("prefill", &[tokens]) => Ok(json!({ "tokens_per_s": self.measure.prefill(tokens)? })),
            ("context", &[short, long, tokens]) => {
                let (short, long) = self.measure.context(short, long, tokens)?;
                Ok(json!({ "short_tokens_per_s": short, "long_tokens_per_s": long }))
            }
            ("bandwidth", []) => {
                if self.bandwidth.is_none() {
                    self.bandwidth = Some(Bandwidth::new(worker::threads::count())?);
                }
                let rate = self.bandwidth.as_ref().map(Bandwidth::measure);
                Ok(json!({ "bytes_per_s": rate }))
            }
            ("copy", []) => Ok(json!({ "bytes_per_s": self.card.copy()? })),
            ("matmul", []) => Ok(json!({ "flops_per_s": self.card.matmul()? })),
            _ => bail!(
                "`{question}` is none of `decode SEQUENCES TOKENS`, `prefill TOKENS`, `context SHORT LONG TOKENS`, `bandwidth`, `copy`, `matmul`"
            ),
        }
    }
}

fn say(answer: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}
