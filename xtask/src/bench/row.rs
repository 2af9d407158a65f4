//! What was measured, round by round, and whether it is enough.

use serde_json::{Value, json};

/// One line of the results.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured, such as a model.
    pub heading: String,
    pub what: String,
    pub unit: Unit,
    pub against: Against,
    pub floor: Option<Floor>,
    /// Whether the plot has it: one row of a measurement has.
    pub drawn: bool,
    pub rounds: Vec<Round>,
}

/// What was measured shortly after one another.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    pub ours: f64,
    pub peer: Option<f64>,
    pub limit: Option<f64>,
}

/// What ours is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Against {
    Peer,
    Limit,
}

/// What the ratio should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Floor {
    AtLeast(f64),
    AtMost(f64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    TokensPerSecond,
    Seconds,
    Milliseconds,
    Gigabytes,
    Mebibytes,
    MegabytesPerSecond,
    Streams,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Miss,
    /// Something that it needs was not measured, or nothing is asked.
    None,
}

impl Row {
    pub fn ours(&self) -> Option<f64> {
        median(self.rounds.iter().map(|round| round.ours))
    }

    pub fn peer(&self) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| round.peer))
    }

    pub fn limit(&self) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| round.limit))
    }

    /// The median of the rounds' ratios: the speed of the memory may change between rounds, hardly inside one.
    pub fn ratio(&self) -> Option<f64> {
        median(self.rounds.iter().filter_map(|round| {
            let by = match self.against {
                Against::Peer => round.peer,
                Against::Limit => round.limit,
            };
            Some(round.ours / by?)
        }))
    }

    pub fn verdict(&self) -> Verdict {
        let (Some(floor), Some(ratio)) = (self.floor, self.ratio()) else {
            return Verdict::None;
        };
        let enough = match floor {
            Floor::AtLeast(least) => ratio >= least,
            Floor::AtMost(most) => ratio <= most,
        };
        if enough { Verdict::Ok } else { Verdict::Miss }
    }

    pub fn to_json(&self) -> Value {
        let rounds: Vec<Value> = self
            .rounds
            .iter()
            .map(|round| json!({ "ours": round.ours, "peer": round.peer, "limit": round.limit }))
            .collect();
        let (least, most) = match self.floor {
            Some(Floor::AtLeast(least)) => (Some(least), None),
            Some(Floor::AtMost(most)) => (None, Some(most)),
            None => (None, None),
        };
        json!({
            "heading": self.heading,
            "what": self.what,
            "unit": self.unit.name(),
            "ours": self.ours(),
            "peer": self.peer(),
            "limit": self.limit(),
            "ratio": self.ratio(),
            "ratio_to": match self.against { Against::Peer => "peer", Against::Limit => "limit" },
            "at_least": least,
            "at_most": most,
            "verdict": self.verdict().word(),
            "rounds": rounds,
        })
    }
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Self::TokensPerSecond => "tokens/s",
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Gigabytes => "GB",
            Self::Mebibytes => "MiB",
            Self::MegabytesPerSecond => "MB/s",
            Self::Streams => "streams",
        }
    }

    /// A value with as many digits as it deserves.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::TokensPerSecond => format!("{value:.1}"),
            Self::Seconds | Self::Milliseconds | Self::Gigabytes | Self::Mebibytes => {
                format!("{value:.2}")
            }
            Self::MegabytesPerSecond | Self::Streams => format!("{value:.0}"),
        }
    }
}

impl Floor {
    pub fn show(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least:.2}"),
            Self::AtMost(most) => format!("<= {most:.2}"),
        }
    }
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Miss => "MISS",
            Self::None => "",
        }
    }
}

/// The value in the middle; of an even number of values the mean of both.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[middle - 1], upper))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A row of one round.
    pub fn row(ours: f64, peer: Option<f64>, limit: Option<f64>) -> Row {
        Row {
            heading: "Qwen2.5-0.5B q8_0".to_owned(),
            what: "decode, 1 sequence".to_owned(),
            unit: Unit::TokensPerSecond,
            against: Against::Peer,
            floor: Some(Floor::AtLeast(1.0)),
            drawn: true,
            rounds: vec![Round { ours, peer, limit }],
        }
    }

    #[test]
    fn a_median_lies_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 9.0].into_iter()), Some(3.0));
        assert_eq!(median([3.0, 1.0].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn ratios_are_taken_inside_a_round() {
        // The machine was twice as fast in the second round.
        let mut row = row(50.0, Some(40.0), None);
        let faster = |share| Round {
            ours: 100.0 * share,
            peer: Some(80.0),
            limit: None,
        };
        row.rounds.extend([faster(1.0), faster(1.1)]);
        assert_eq!(row.ratio(), Some(1.25));
        assert_eq!(row.ours(), Some(100.0));
        assert_eq!(row.peer(), Some(80.0));
    }

    #[test]
    fn a_floor_is_met_missed_or_not_judged() {
        assert_eq!(row(40.0, Some(40.0), None).verdict(), Verdict::Ok);
        assert_eq!(row(39.0, Some(40.0), None).verdict(), Verdict::Miss);
        assert_eq!(row(39.0, None, Some(40.0)).verdict(), Verdict::None);
        let load = Row {
            against: Against::Limit,
            floor: Some(Floor::AtMost(1.0)),
            ..row(2.5, None, Some(2.0))
        };
        assert_eq!(load.verdict(), Verdict::Miss);
        assert_eq!(load.ratio(), Some(1.25));
    }
}
