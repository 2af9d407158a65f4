//! What is typed while a terminal is drawn on.

use std::io::stderr;

use rustix::process::getpgrp;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

/// While it lives the terminal does not show what is typed: an Enter, or the `^C` of an interruption, would move the cursor
/// away from what is drawn.
#[derive(Debug)]
pub struct Silence {
    before: Termios,
}

impl Silence {
    /// None where stderr is no terminal, or that of others: a program in the background may not change it.
    pub fn begin() -> Option<Self> {
        let before = tcgetattr(stderr()).ok()?;
        if tcgetpgrp(stderr()) != Ok(getpgrp()) {
            return None;
        }
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        set(&silent).then_some(Self { before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        set(&self.before);
    }
}

fn set(modes: &Termios) -> bool {
    tcsetattr(stderr(), OptionalActions::Now, modes).is_ok()
}
