//! Where output goes and whether it may have colour.

use std::io::{ErrorKind, IsTerminal, Write, stderr, stdin, stdout};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::tcgetwinsize;

use crate::failure::Failure;
use crate::progress::event::Event;
use crate::report::Style;

mod silence;

pub use silence::Silence;

/// The colours, one for each meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Something comes, or is well.
    Good,
    /// Something changes, or wants attention.
    Change,
    /// Something goes, or failed.
    Bad,
    Bold,
    Dim,
}

/// The three standard streams and what the operator asked of them.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    pub colour_out: bool,
    pub colour_err: bool,
    /// Columns that a line of stdout may have; none where nothing bounds it.
    pub width: Option<usize>,
    /// stdout takes more than ASCII.
    pub unicode: bool,
    /// stderr is a terminal, so progress may be drawn.
    pub draws: bool,
    /// stdin and stderr are, so a question can be asked.
    pub asks: bool,
    /// Only data and errors.
    pub quiet: bool,
}

impl Terminal {
    /// Colour is off with `--no-color`, `NO_COLOR`, `CLICOLOR=0`, `TERM=dumb` or off a terminal.
    pub fn new(no_color: bool, quiet: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let is = |name: &str, value: &str| set(name).is_some_and(|found| found == value);
        let wanted =
            !no_color && set("NO_COLOR").is_none() && !is("CLICOLOR", "0") && !is("TERM", "dumb");
        let forced = !no_color && set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        Self {
            colour_out: forced || wanted && stdout().is_terminal(),
            colour_err: forced || wanted && stderr().is_terminal(),
            width: width(),
            unicode: unicode(),
            draws: stderr().is_terminal() && !is("TERM", "dumb"),
            asks: stdin().is_terminal() && stderr().is_terminal(),
            quiet,
        }
    }

    /// How what goes to stdout looks.
    pub fn style(&self) -> Style {
        Style {
            colour: self.colour_out,
            width: self.width,
            unicode: self.unicode,
        }
    }

    /// How what is drawn on the terminal that stderr is looks.
    pub fn style_err(&self) -> Style {
        Style {
            colour: self.colour_err,
            width: Some(screen().0),
            unicode: self.unicode,
        }
    }

    /// Writes a line of `--json-stream`.
    pub fn event(&self, event: &Event) {
        // An event is plain data: writing it as JSON cannot fail.
        if let Ok(line) = serde_json::to_string(event) {
            self.data(&format!("{line}\n"));
        }
    }

    /// Writes data to stdout. A reader that is gone has seen enough; any other failure ends the program, because what it
    /// was to say is lost.
    pub fn data(&self, text: &str) {
        let mut out = stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                write_err(&format!("error: cannot write to stdout: {error}\n"));
                std::process::exit(1);
            }
            _ => {}
        }
    }

    /// Writes for people to stderr, unless they asked for quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            write_err(text);
        }
    }

    /// Writes `error:` what, `-->` where and `help:` what to do to stderr.
    pub fn failure(&self, failure: &Failure) {
        match failure {
            Failure::Problems {
                file,
                text,
                problems,
            } => {
                let file = file.display().to_string();
                let rendered: Vec<String> = problems
                    .iter()
                    .map(|problem| self.label(&problem.render(&file, text)))
                    .collect();
                write_err(&rendered.join("\n"));
                if problems.len() > 1 {
                    let count = problems.len();
                    write_err(&format!(
                        "\n{} {file} has {count} problems\n",
                        self.bad("error:")
                    ));
                }
            }
            Failure::Other { what, at, help, .. } => {
                let mut text = format!("error: {what}\n");
                if let Some(at) = at {
                    text += &format!("  --> {at}\n");
                }
                if let Some(help) = help {
                    text += &format!("help: {help}\n");
                }
                write_err(&self.label(&text));
            }
        }
    }

    /// Colours the labels at the start of lines.
    fn label(&self, text: &str) -> String {
        let line = |line: &str| match line.split_once(": ") {
            Some(("error", rest)) => format!("{} {rest}\n", self.bad("error:")),
            Some(("help", rest)) => {
                format!("{} {rest}\n", paint(self.colour_err, Paint::Good, "help:"))
            }
            _ => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    }

    fn bad(&self, text: &str) -> String {
        paint(self.colour_err, Paint::Bad, text)
    }
}

/// Returns once nobody will read stdout any more; never where that cannot be told, as of a file.
pub async fn unread() {
    let (sender, told) = tokio::sync::oneshot::channel();
    // A thread of its own: one that waits for that does not keep the program from ending.
    std::thread::spawn(move || {
        let out = stdout();
        let gone = PollFlags::ERR | PollFlags::HUP;
        loop {
            let mut asked = [PollFd::new(&out, PollFlags::empty())];
            match poll(&mut asked, None) {
                Ok(_) if asked[0].revents().intersects(gone) => return sender.send(()).is_ok(),
                Err(Errno::INTR) => {}
                _ => return false,
            }
        }
    });
    if told.await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Columns and lines of the terminal that stderr is.
pub fn screen() -> (usize, usize) {
    let size = tcgetwinsize(stderr()).ok();
    let size = size.map(|size| (size.ws_col.into(), size.ws_row.into()));
    size.filter(|(columns, lines)| *columns > 0 && *lines > 0)
        // What indicatif takes it for.
        .unwrap_or((79, 24))
}

/// Of the terminal; off one, what `COLUMNS` says.
fn width() -> Option<usize> {
    let of_terminal = tcgetwinsize(stdout()).ok().map(|size| size.ws_col.into());
    let told = || std::env::var("COLUMNS").ok()?.parse().ok();
    let is_one = |width: &usize| *width > 0;
    of_terminal.filter(is_one).or_else(told).filter(is_one)
}

/// As the locale says; `C` and `POSIX` have ASCII only.
fn unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

fn write_err(text: &str) {
    let _ = stderr().lock().write_all(text.as_bytes());
}

/// The text in a colour, or as it is.
pub fn paint(on: bool, paint: Paint, text: &str) -> String {
    let code = match paint {
        Paint::Good => "32",
        // A yellow that can be read on white too; that of the sixteen colours often cannot.
        Paint::Change => "38;5;136",
        Paint::Bad => "31",
        Paint::Bold => "1",
        Paint::Dim => "2",
    };
    if on {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
