//! Lengths of time: `0s`, `90s`, `2m`, `1h30m`, or a bare `0`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// A length of time in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration {
    seconds: u64,
}

/// The text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration: hours, minutes and seconds, such as 1h30m or 90s")]
pub struct InvalidDuration(pub String);

/// The units, from the longest on, in seconds.
const UNITS: [(char, u64); 3] = [('h', 3600), ('m', 60), ('s', 1)];

/// Most digits of one part: no sum of parts passes a `u64`.
const DIGITS: usize = 9;

impl Duration {
    pub fn milliseconds(self) -> u64 {
        self.seconds * 1000
    }
}

impl FromStr for Duration {
    type Err = InvalidDuration;

    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        let invalid = || InvalidDuration(text.to_owned());
        if text == "0" {
            return Ok(Self { seconds: 0 });
        }
        let mut seconds = 0;
        let mut units = UNITS.iter();
        let mut rest = text;
        while !rest.is_empty() || rest.len() == text.len() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| invalid())?;
            let mut behind = rest[digits..].chars();
            let unit = behind.next().ok_or_else(invalid)?;
            let (_, factor) = units.find(|(name, _)| *name == unit).ok_or_else(invalid)?;
            if digits > DIGITS {
                return Err(invalid());
            }
            seconds += number * factor;
            rest = behind.as_str();
        }
        Ok(Self { seconds })
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.seconds;
        for (name, factor) in UNITS {
            let number = left / factor;
            left %= factor;
            if number > 0 || (name == 's' && self.seconds == 0) {
                write!(f, "{number}{name}")?;
            }
        }
        Ok(())
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^(0|[0-9]{1,9}h([0-9]{1,9}m)?([0-9]{1,9}s)?|[0-9]{1,9}m([0-9]{1,9}s)?|[0-9]{1,9}s)$",
            "minimum": 0,
            "maximum": 0,
            "examples": ["0s", "90s", "1h30m"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_back_as_it_prints() {
        for (text, ms) in [
            ("0s", 0),
            ("45s", 45_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1h1s", 3_601_000),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!(duration.milliseconds(), ms);
            assert_eq!(duration.to_string(), text);
        }
        assert_eq!("0".parse::<Duration>(), "0s".parse());
        assert_eq!("90s".parse::<Duration>(), "1m30s".parse());
        assert!("999999999h".parse::<Duration>().is_ok());
        for bad in [
            "", "5", "s", "m5", "5 s", "5S", "-5s", "+5s", "1.5s", "5s5s", "5s1m", "1d", "5ms",
            "1000000000s", "99999999999999999999s", "٣s",
        ] {
            assert!(bad.parse::<Duration>().is_err(), "{bad:?}");
        }
    }
}
