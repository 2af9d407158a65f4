//! How fast the network alone is, without HTTP: `speed FOLDER q8_0|bf16`.
//!
//! Loads the model, says in a line of JSON how that went, then answers each line on stdin with a line of JSON.
//!
//! | question | measures |
//! |---|---|
//! | `decode SEQUENCES TOKENS` | greedy decoding of so many tokens a sequence, all in one batch |
//! | `prefill TOKENS` | a prompt, to the logits of its last token |
//! | `context SHORT LONG TOKENS` | decoding with little and with much before it, in turns |
//! | `bandwidth` | reading memory with all threads |

mod bandwidth;
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
use measure::Measure;

/// Sequences that fit at once.
const SLOTS: u32 = 8;
/// Tokens of a sequence, where the model has that many.
const CONTEXT: usize = 4096;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, kept] = args.as_slice() else {
        bail!("usage: speed FOLDER q8_0|bf16");
    };
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
        device: Device::Cpu,
        context: Some(u32::try_from(context)?),
        slots: SLOTS,
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
    let mut measure = Measure::new(model.network)?;
    let mut bandwidth = None;
    for line in std::io::stdin().lock().lines() {
        say(&answer(&line?, &mut measure, &mut bandwidth)?)?;
    }
    Ok(())
}

fn answer(
    question: &str,
    measure: &mut Measure,
    bandwidth: &mut Option<Bandwidth>,
) -> anyhow::Result<Value> {
    let mut words = question.split_whitespace();
    let what = words.next().unwrap_or_default();
    let numbers: Vec<usize> = words
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("`{question}`"))?;
    match (what, numbers.as_slice()) {
        ("decode", &[sequences, tokens]) => {
            Ok(json!({ "tokens_per_s": measure.decode(sequences, tokens)? }))
        }
        ("prefill", &[tokens]) => Ok(json!({ "tokens_per_s": measure.prefill(tokens)? })),
        ("context", &[short, long, tokens]) => {
            let (short, long) = measure.context(short, long, tokens)?;
            Ok(json!({ "short_tokens_per_s": short, "long_tokens_per_s": long }))
        }
        ("bandwidth", []) => {
            if bandwidth.is_none() {
                *bandwidth = Some(Bandwidth::new(worker::threads::count())?);
            }
            let rate = bandwidth.as_ref().map(Bandwidth::measure);
            Ok(json!({ "bytes_per_s": rate }))
        }
        _ => bail!(
            "`{question}` is none of `decode SEQUENCES TOKENS`, `prefill TOKENS`, `context SHORT LONG TOKENS`, `bandwidth`"
        ),
    }
}

fn say(answer: &Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")?;
    out.flush()
}
