//! How far a download is, line by line, for terminals and logs alike.

use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use pool_core::name::ModelId;
use pool_core::rpc::{Moved, Progress};
use pool_core::units::bytes;

use crate::lock;

/// How often a line is written.
const EVERY: Duration = Duration::from_secs(2);

/// Lines on stderr about one model.
#[derive(Debug)]
pub struct Lines {
    model: ModelId,
    last: Mutex<Option<(Instant, u64)>>,
}

impl Lines {
    pub fn new(model: &ModelId) -> Self {
        Self {
            model: model.clone(),
            last: Mutex::default(),
        }
    }

    /// Writes how far it is, unless it just did.
    pub fn tell(&self, progress: &Progress) {
        let Some(Moved { done, total }) = progress.bytes else {
            return;
        };
        let mut last = lock(&self.last);
        let now = Instant::now();
        let Some((then, before)) = *last else {
            *last = Some((now, done));
            return;
        };
        let passed = now.duration_since(then);
        if passed < EVERY {
            return;
        }
        *last = Some((now, done));
        let rate = done.saturating_sub(before) as f64 / passed.as_secs_f64();
        let left = if rate >= 1.0 {
            format!(
                "{} s left",
                (total.saturating_sub(done) as f64 / rate).ceil()
            )
        } else {
            "nothing comes now".into()
        };
        say(&format!(
            "{}: {} of {}, {}/s, {left}",
            self.model,
            bytes(done),
            bytes(total),
            bytes(rate as u64)
        ));
    }
}

/// To whoever still listens.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
