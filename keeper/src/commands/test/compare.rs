//! Two backends beside each other: how likely each finds the same tokens.
//!
//! Teacher-forced: both are given the same texts, the question word by word and what the first of them goes on with, and tell
//! the log-probabilities of what may come next.

use std::collections::BTreeMap;

use pool_core::device::Backend;
use pool_core::name::{FleetName, ModelId};
use schemars::JsonSchema;
use serde::Serialize;

use super::cells::Cell;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::Style;
use crate::report::table::{Cell as Column, Table};
use crate::stream::{Asked, NextToken};
use crate::terminal::Paint;

/// Most places of a question and its answer that are compared.
const PLACES: usize = 32;

/// Two workers of a model, asked the same.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Compared {
    pub model: ModelId,
    /// The addresses of both, in the order of the backends.
    pub workers: [String; 2],
    /// Places at which both told how likely tokens are.
    pub places: usize,
    /// Places at which they would take different tokens.
    pub other_tokens: usize,
    /// Log-probabilities that were compared. With none nothing is known.
    pub tokens: usize,
    /// The largest and the mean absolute difference of a log-probability, over the tokens that both told.
    pub largest: f64,
    pub mean: f64,
}

/// What `test --compare --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Document {
    pub version: u32,
    pub fleet: FleetName,
    /// The largest mean difference that is no failure.
    pub tolerance: f64,
    pub compared: Vec<Compared>,
}

impl Document {
    pub fn new(fleet: FleetName, tolerance: f64, compared: Vec<Compared>) -> Self {
        Self {
            version: 1,
            fleet,
            tolerance,
            compared,
        }
    }

    fn is_far(&self, compared: &Compared) -> bool {
        compared.tokens == 0 || compared.mean > self.tolerance
    }

    pub fn exit(&self) -> Exit {
        if self.compared.iter().any(|compared| self.is_far(compared)) {
            Exit::GATE
        } else {
            Exit::DONE
        }
    }

    pub fn text(&self, style: Style) -> String {
        let header = [
            "MODEL",
            "WORKER",
            "BESIDE",
            "PLACES",
            "OTHER TOKENS",
            "LARGEST",
            "MEAN",
            "RESULT",
        ];
        let mut table = Table::new(&header);
        for compared in &self.compared {
            let [one, other] = &compared.workers;
            let mut row: Vec<Column> = [
                compared.model.to_string(),
                one.clone(),
                other.clone(),
                compared.places.to_string(),
                compared.other_tokens.to_string(),
                format!("{:.2e}", compared.largest),
                format!("{:.2e}", compared.mean),
            ]
            .map(Column::from)
            .to_vec();
            row.push(if self.is_far(compared) {
                Column::painted("fail", Paint::Bad)
            } else {
                Column::painted("pass", Paint::Good)
            });
            table.row(row);
        }
        let tolerance = self.tolerance;
        table.text(style)
            + &format!(
                "\nDifferences of log-probabilities in nats; a mean over {tolerance} is a failure.\n"
            )
    }
}

/// For each model, a worker on each of two backends.
pub fn pairs(cells: &[Cell], [one, other]: [Backend; 2]) -> BTreeMap<&ModelId, [&Cell; 2]> {
    let mut pairs = BTreeMap::new();
    for cell in cells {
        if cell.worker.device.backend() != one {
            continue;
        }
        let on = |backend| {
            let mut cells = cells.iter();
            let is_on = |found: &&Cell| {
                found.model == cell.model && found.worker.device.backend() == backend
            };
            // Of one backend, two workers.
            cells.find(|found| is_on(found) && (one != other || found.worker != cell.worker))
        };
        if let Some(second) = on(other) {
            pairs.entry(&cell.model).or_insert([cell, second]);
        }
    }
    pairs
}

/// Asks both for what comes after these texts.
pub async fn compare(
    model: &ModelId,
    workers: [String; 2],
    asked: [&Asked; 2],
    questions: &[&str],
) -> Result<Compared, Failure> {
    let mut sum = Sum::default();
    for question in questions {
        let mut texts: Vec<String> = beginnings(question);
        // Then the question, and what the first of them goes on with.
        let mut text = (*question).to_owned();
        while texts.len() < PLACES {
            let next = asked[0].next_token(model, &text).await?;
            texts.push(text.clone());
            if next.text.is_empty() {
                break;
            }
            text += &next.text;
        }
        for text in &texts {
            let [one, other] = asked;
            let (one, other) =
                tokio::join!(one.next_token(model, text), other.next_token(model, text));
            sum.add(&one?, &other?);
        }
    }
    Ok(Compared {
        model: model.clone(),
        workers,
        places: sum.places,
        other_tokens: sum.other_tokens,
        tokens: sum.tokens,
        largest: sum.largest,
        mean: sum.total / sum.tokens.max(1) as f64,
    })
}

/// What stands before each word of a text but the first.
fn beginnings(text: &str) -> Vec<String> {
    let ends = text.match_indices(' ').map(|(at, _)| text[..at].to_owned());
    ends.filter(|text| !text.is_empty()).take(PLACES).collect()
}

#[derive(Default)]
struct Sum {
    places: usize,
    other_tokens: usize,
    tokens: usize,
    largest: f64,
    total: f64,
}

impl Sum {
    fn add(&mut self, one: &NextToken, other: &NextToken) {
        self.places += 1;
        self.other_tokens += usize::from(one.text != other.text);
        for (token, probability) in &one.top {
            let difference = match other.top.get(token) {
                Some(beside) => (probability - beside).abs(),
                // Of what the other does not name among its likeliest: at least so much, for the token that is taken.
                None if *token == one.text => {
                    let least = other.top.values().copied().fold(0.0, f64::min);
                    (probability - least).max(0.0)
                }
                None => continue,
            };
            self.tokens += 1;
            self.total += difference;
            self.largest = self.largest.max(difference);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, top: &[(&str, f64)]) -> NextToken {
        let top = top.iter().map(|(text, value)| ((*text).to_owned(), *value));
        NextToken {
            text: text.to_owned(),
            top: top.collect(),
        }
    }

    #[test]
    fn a_text_begins_before_each_of_its_words() {
        assert_eq!(beginnings("one two  three"), ["one", "one two", "one two "]);
        assert_eq!(beginnings(" one"), Vec::<String>::new());
    }

    #[test]
    fn what_both_told_is_compared_and_other_tokens_are_counted() {
        let mut sum = Sum::default();
        let one = token("a", &[("a", -0.25), ("b", -2.0), ("c", -3.0)]);
        let other = token("b", &[("a", -0.75), ("b", -0.5), ("d", -9.0)]);
        sum.add(&one, &one);
        assert_eq!((sum.other_tokens, sum.tokens, sum.largest), (0, 3, 0.0));
        sum.add(&one, &other);
        assert_eq!((sum.places, sum.other_tokens, sum.tokens), (2, 1, 5));
        assert_eq!((sum.largest, sum.total), (1.5, 2.0));
    }
}
