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
    /// None where stderr is no terminal, or that of others.
    pub fn begin() -> Option<Self> {
        let before = tcgetattr(stderr()).ok()?;
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

/// A program in the background that changed its terminal would be stopped.
fn set(modes: &Termios) -> bool {
    tcgetpgrp(stderr()) == Ok(getpgrp()) && tcsetattr(stderr(), OptionalActions::Now, modes).is_ok()
}
