//! `rbee import --from`: what another program is configured to serve, as fleet.yaml says it.

mod add;
mod llama_swap;
mod ollama;
mod weights;

use std::path::{Path, PathBuf};

use pool_core::device::Device;
use pool_core::name::PoolName;
use pool_core::source::Source;
use reconciler::fleet::Connect;
use serde::Serialize;
use serde_json::json;

use super::draft::Draft;
use super::{confirm, new_lines, pasted, write};
use crate::cli::{Global, Import, Program};
use crate::commands::{init, pool};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::{self, Contents, FleetFile};
use crate::terminal::Terminal;
use add::Adding;

/// A model of another program, as far as fleet.yaml can say it.
#[derive(Debug)]
struct Found {
    /// What the other program calls it.
    name: String,
    weights: Weights,
    slots: Option<u32>,
    /// Most tokens of one request.
    context: Option<u32>,
    /// What the other program takes where it is told no context.
    usual_context: Option<u32>,
    /// Where it computes, and the words that say so.
    place: Option<(Place, String)>,
}

#[derive(Debug)]
enum Weights {
    /// A GGUF file of this machine.
    File(PathBuf),
    Hub(Source),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Cpu,
    AnyGpu,
    Device(Device),
}

/// Something that is not carried over.
#[derive(Debug, Serialize)]
struct Left {
    /// What the other program calls the model that it is of; none of what is for all models.
    model: Option<String>,
    what: String,
    why: String,
    /// The model as a whole stays out.
    whole: bool,
}

/// What another program is configured to serve.
#[derive(Debug, Default)]
struct Reading {
    found: Vec<Found>,
    left: Vec<Left>,
}

impl Reading {
    /// Of a model, or of all.
    fn leave(&mut self, model: Option<&str>, what: impl Into<String>, why: impl Into<String>) {
        self.left.push(Left {
            model: model.map(str::to_owned),
            what: what.into(),
            why: why.into(),
            whole: false,
        });
    }

    fn add(&mut self, name: &str, read: Result<Found, String>) {
        match read {
            Ok(found) => self.found.push(found),
            Err(why) => self.left.push(Left::whole(name, why)),
        }
    }
}

impl Left {
    fn whole(model: &str, why: String) -> Self {
        Self {
            model: Some(model.to_owned()),
            what: "the model".to_owned(),
            why,
            whole: true,
        }
    }

    /// For a terminal, which takes no orders from what others wrote.
    fn line(&self) -> String {
        let Self {
            model, what, why, ..
        } = self;
        let line = match model {
            Some(model) => format!("{model}: {what}: {why}"),
            None => format!("{what}: {why}"),
        };
        let mut shown = String::from("  ");
        for c in line.chars() {
            if c.is_control() {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        shown + "\n"
    }
}

pub fn run(
    global: &Global,
    args: &Import,
    program: Program,
    terminal: Terminal,
) -> Result<Exit, Failure> {
    let given = match &args.ids[..] {
        [] => None,
        [path] => Some(Path::new(path)),
        _ => {
            let what = "--from reads one folder or file, and several are named";
            return Err(Failure::new(what).exit(Exit::USAGE));
        }
    };
    let (place, reading) = match program {
        Program::Ollama => {
            let folder = ollama::folder(given)?;
            let reading = ollama::read(&folder)?;
            (folder, reading)
        }
        Program::LlamaSwap => {
            let path = given.unwrap_or(Path::new("config.yaml"));
            (path.to_owned(), llama_swap::read(path)?)
        }
    };
    let (file, is_new) = fleet_file(global)?;
    let pool = local_pool(&file, args.pool.clone())?;
    let draft =
        Draft::new(&file, &pool, Contents::new()).map_err(|problems| file.wrong(problems))?;
    let mut adding = Adding::new(draft, reading.left);
    for found in reading.found {
        adding.add(found);
    }
    let Adding {
        draft,
        added,
        links,
        left,
        ..
    } = adding;
    let is_nothing = added.is_empty() && links.is_empty();
    if !global.json {
        let from = place.display();
        let mut text = if is_nothing {
            format!("Nothing of {from} is to be imported.\n")
        } else {
            format!("Of {from} to fleet {}:\n", draft.desired.fleet)
        };
        for added in &added {
            text += &format!("  model {} as {}\n", added.model, added.worker);
        }
        for link in &links {
            let (at, to) = (link.at.display(), link.to.display());
            text += &format!("  link {at} to {to}\n");
        }
        let old = if is_new { "" } else { &file.text };
        text += &new_lines(old, &draft);
        text += &pasted(&draft);
        terminal.data(&text);
    }
    if !left.is_empty() {
        let lines: String = left.iter().map(Left::line).collect();
        terminal.note(&format!("\nNot carried over:\n{lines}"));
    }
    draft.check_written()?;
    if !is_nothing {
        if !args.yes {
            confirm(terminal)?;
        }
        for link in &links {
            link.make()?;
        }
        if is_new {
            init::write(&file.path, &draft.text)?;
        } else {
            write(&file.path, &file.text, &draft.text)?;
        }
    }
    if global.json {
        let value = json!({
            "version": 1, "pool": pool, "from": place,
            "import": { "added": added, "links": links, "left": left },
        });
        terminal.data(&crate::commands::json(&value)?);
    }
    // What could not be taken over was asked for too.
    let is_all = !left.iter().any(|left| left.whole);
    Ok(if is_all { Exit::DONE } else { Exit::ERROR })
}

/// The fleet file, or a new one of this machine alone where there is none.
fn fleet_file(global: &Global) -> Result<(FleetFile, bool), Failure> {
    let named = global.file.as_deref();
    let is_new = match named {
        Some(path) => !path.exists(),
        None => fleet_file::find()?.is_none(),
    };
    if !is_new {
        return Ok((FleetFile::load(named)?, false));
    }
    let path = named.unwrap_or(Path::new(fleet_file::NAME)).to_owned();
    let text = init::of_this_machine(None, None)?;
    Ok((FleetFile::of(path, text)?, true))
}

/// The pool that is meant: the named one, else the one that is this machine, else the only one.
fn local_pool(file: &FleetFile, named: Option<String>) -> Result<PoolName, Failure> {
    let pools = file.fleet.pools.iter();
    let mut local = pools.filter(|(_, pool)| pool.connect.value == Connect::Local);
    match (&named, local.next(), local.next()) {
        (None, Some((only, _)), None) => Ok(only.clone()),
        _ => pool::choose(file, named),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_gives_the_terminal_no_orders() {
        let mut left = Left::whole("a\rb", "not\nso \u{9b}1mü".into());
        left.what = "\u{1b}]0;x\u{7}".into();
        let line = "  a\\rb: \\u{1b}]0;x\\u{7}: not\\nso \\u{9b}1mü\n";
        assert_eq!(left.line(), line);
    }
}
