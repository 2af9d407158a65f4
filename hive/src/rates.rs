//! `rates.json`: how fast content came the last time.

use pool_core::supply::Rates;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::file;
use crate::home::Home;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    version: u32,
    #[serde(flatten)]
    rates: Rates,
}

/// What was measured; nothing where the file cannot be read, for nothing depends on it.
pub fn load(home: &Home) -> Rates {
    let noted = file::read_json::<Noted>(&home.rates(), VERSION);
    noted
        .ok()
        .flatten()
        .map(|noted| noted.rates)
        .unwrap_or_default()
}

/// Notes what was measured now.
pub fn note(home: &Home, change: impl FnOnce(&mut Rates)) -> Result<()> {
    let home = home.lock()?;
    let before = load(&home);
    let mut rates = before;
    change(&mut rates);
    if rates == before {
        return Ok(());
    }
    let noted = Noted {
        version: VERSION,
        rates,
    };
    file::write_json(&home.rates(), &noted)
}
