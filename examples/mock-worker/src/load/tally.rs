//! What streams came to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Counts of streams, and times of theirs in milliseconds.
#[derive(Debug, Default)]
pub struct Tally {
    pub asked: u64,
    pub ended: u64,
    /// Why others did not end, and how many.
    failed: BTreeMap<String, u64>,
    /// From when a request was due to its first token.
    pub first_token: Vec<f64>,
    /// And to its end.
    pub whole: Vec<f64>,
    /// Between two pieces of one stream.
    pub gaps: Vec<f64>,
    /// Tokens that were counted, and the seconds in which they came.
    pub tokens: u64,
    pub seconds: f64,
}

impl Tally {
    pub fn fail(&mut self, error: &anyhow::Error) {
        *self.failed.entry(error.to_string()).or_default() += 1;
    }

    pub fn to_json(&self) -> Value {
        json!({
            "asked": self.asked,
            "ended": self.ended,
            "failed": self.failed,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "tokens_per_s": if self.seconds > 0.0 { self.tokens as f64 / self.seconds } else { 0.0 },
            "first_token_ms": spread(&self.first_token),
            "whole_ms": spread(&self.whole),
            "gap_ms": spread(&self.gaps),
        })
    }
}

/// The middle, the 99th percentile (nearest rank) and the largest.
pub fn spread(values: &[f64]) -> Value {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = |share: f64| {
        let rank = (values.len() as f64 * share).ceil() as usize;
        values.get(rank.saturating_sub(1))
    };
    json!({ "p50": rank(0.5), "p99": rank(0.99), "max": values.last(), "n": values.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let spread = spread(&values);
        assert_eq!(
            (&spread["p50"], &spread["p99"]),
            (&json!(100.0), &json!(198.0))
        );
        assert_eq!((&spread["max"], &spread["n"]), (&json!(200.0), &json!(200)));
        assert_eq!(super::spread(&[])["p50"], Value::Null);
    }
}
