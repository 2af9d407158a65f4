//! What llama.cpp's own measuring programs say.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::peer::Peer;

/// Prompt of each sequence before a batch decodes.
pub const BATCH_PROMPT: usize = 16;

/// The peer with a model.
pub struct Llama<'a> {
    pub peer: &'a Peer,
    pub model: &'a Path,
    pub threads: usize,
}

impl Llama<'_> {
    /// Tokens per second of one sequence after `depth` tokens.
    pub fn decode(&self, tokens: usize, depth: usize) -> anyhow::Result<f64> {
        self.bench([
            "-p",
            "0",
            "-n",
            &tokens.to_string(),
            "-d",
            &depth.to_string(),
        ])
    }

    /// Tokens of a prompt per second.
    pub fn prefill(&self, tokens: usize) -> anyhow::Result<f64> {
        self.bench(["-p", &tokens.to_string(), "-n", "0", "-d", "0"])
    }

    /// Tokens per second of several sequences, together.
    pub fn batch(&self, sequences: usize, tokens: usize) -> anyhow::Result<f64> {
        let context = (sequences * (BATCH_PROMPT + tokens)).next_multiple_of(256);
        let threads = self.threads.to_string();
        let mut command = Command::new(self.peer.program("llama-batched-bench"));
        command.arg("-m").arg(self.model);
        command.args(["-t", &threads, "-tb", &threads]);
        command.args(["-c", &context.to_string()]);
        command.args(["-npp", &BATCH_PROMPT.to_string()]);
        command.args(["-ntg", &tokens.to_string()]);
        command.args(["-npl", &sequences.to_string()]);
        command.args(["--output-format", "jsonl"]);
        let output = run(&mut command)?;
        batch_speed(&output)
            .with_context(|| format!("llama-batched-bench answered {:?}", output.trim()))
    }

    fn bench<'t>(&self, what: impl IntoIterator<Item = &'t str>) -> anyhow::Result<f64> {
        let mut command = Command::new(self.peer.program("llama-bench"));
        command.arg("-m").arg(self.model).args(what);
        command.args(["-t", &self.threads.to_string(), "-r", "1", "-o", "json"]);
        let output = run(&mut command)?;
        single_speed(&output).with_context(|| format!("llama-bench answered {:?}", output.trim()))
    }
}

/// The only test's average tokens per second, of llama-bench's JSON.
fn single_speed(output: &str) -> Option<f64> {
    let tests: Vec<Value> = serde_json::from_str(output).ok()?;
    let [test] = tests.as_slice() else {
        return None;
    };
    test["avg_ts"].as_f64().filter(|speed| *speed > 0.0)
}

/// The only batch's tokens per second while generating, of llama-batched-bench's lines.
fn batch_speed(output: &str) -> Option<f64> {
    let lines = output.lines().filter(|line| line.starts_with('{'));
    let mut tests = lines.map(serde_json::from_str::<Value>);
    let test = tests.next()?.ok()?;
    if tests.next().is_some() {
        return None;
    }
    test["speed_tg"].as_f64().filter(|speed| *speed > 0.0)
}

/// Runs a program to its end and returns what it printed.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default();
        bail!("{name} failed ({}): {last}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As llama-bench of llama.cpp 0.5.0 prints it.
    const SINGLE: &str = r#"[
  {
    "build_commit": "unknown",
    "build_number": 1,
    "cpu_info": "AMD EPYC",
    "gpu_info": "",
    "backends": "CPU",
    "model_filename": "qwen-q8.gguf",
    "model_type": "qwen2 1B (guessed) Q8_0",
    "model_size": 525120000,
    "model_n_params": 494032768,
    "n_threads": 2,
    "repack": true,
    "n_prompt": 0,
    "n_gen": 16,
    "n_depth": 200,
    "test_time": "2026-11-21T12:16:51Z",
    "avg_ns": 372836547,
    "stddev_ns": 0,
    "avg_ts": 42.914248,
    "stddev_ts": 0.000000,
    "samples_ns": [ 372836547 ],
    "samples_ts": [ 42.9142 ]
  }
]
"#;

    /// As llama-batched-bench of llama.cpp 0.5.0 prints it.
    const BATCH: &str = r#"
{"n_kv_max": 4096, "n_batch": 2048, "n_ubatch": 512, "flash_attn": -1, "is_pp_shared": 0, "n_gpu_layers": -1, "n_threads": 2, "n_threads_batch": 2, "pp": 16, "tg": 32, "pl": 8, "n_kv": 384, "t_pp": 0.464476, "speed_pp": 275.579376, "t_tg": 2.218406, "speed_tg": 115.398178, "t": 2.682882, "speed": 143.129669}

"#;

    #[test]
    fn the_speeds_are_found_in_what_the_programs_print() {
        assert_eq!(single_speed(SINGLE), Some(42.914_248));
        assert_eq!(batch_speed(BATCH), Some(115.398_178));
    }

    #[test]
    fn anything_else_is_no_speed() {
        let two = format!("{BATCH}{BATCH}");
        for output in [
            "",
            "[]",
            "{}",
            r#"[{"avg_ts": 0.0}]"#,
            r#"[{"avg_ts": "fast"}]"#,
            "[{",
        ] {
            assert_eq!(single_speed(output), None, "{output}");
        }
        for output in ["", "{}", r#"{"speed_tg": null}"#, "{", two.as_str()] {
            assert_eq!(batch_speed(output), None, "{output}");
        }
    }
}
