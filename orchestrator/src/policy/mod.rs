//! Rules of an operator as a short script in [Rhai](https://rhai.rs), asked beside the rules that are built in.
//!
//! A script defines any of these functions:
//!
//! | function | answers |
//! |---|---|
//! | `admit(snapshot, task)` | `true` or nothing: admitted; `false` or a text: refused, with that message |
//! | `schedule(snapshot, task)` | the id of a worker, or nothing: what is built in decides |
//! | `retry(snapshot, task, error)` | whether the task runs again elsewhere, or nothing |
//!
//! It can compute, and nothing else: there are no files, modules, clocks or output, and each call has a [`Budget`].
//! It cannot change what it is shown, and keeps nothing between calls. Only its functions count: what stands
//! outside of them never runs.

mod fault;
mod sandbox;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;

use rhai::{AST, CallFnOptions, Dynamic, Engine, FuncArgs, Position, Scope};

pub use fault::{FaultKind, Hook, PolicyError, ScriptFault};
pub use sandbox::Budget;
pub use view::{Unviewable, View};

/// A compiled script.
pub struct Policy {
    engine: Engine,
    script: AST,
    hooks: Vec<Hook>,
    budget: Budget,
}

/// What a script says to a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// With a message for the client.
    Refused(String),
}

/// What is wrong with a script, and where.
struct Mistake(Position, String);

impl Policy {
    /// Reads a script with the default budget.
    pub fn read(path: &Path) -> Result<Self, PolicyError> {
        Self::read_with(path, Budget::default())
    }

    pub fn read_with(path: &Path, budget: Budget) -> Result<Self, PolicyError> {
        let source = pool_core::folder::open(path)
            .and_then(std::io::read_to_string)
            .map_err(|error| PolicyError::Unreadable {
                path: path.to_owned(),
                error,
            })?;
        Self::of(path, &source, budget)
    }

    /// Takes the text of a script, which errors call `path`.
    pub fn of(path: &Path, source: &str, budget: Budget) -> Result<Self, PolicyError> {
        Self::compile(source, budget).map_err(|Mistake(place, message)| PolicyError::Wrong {
            path: path.to_owned(),
            line: place.line().unwrap_or(0),
            column: place.position().unwrap_or(0),
            message,
        })
    }

    fn compile(source: &str, budget: Budget) -> Result<Self, Mistake> {
        let engine = sandbox::engine(budget);
        let script = engine
            .compile(source)
            .map_err(|error| Mistake(error.position(), error.err_type().to_string()))?;
        let mut hooks = Vec::new();
        for function in script.iter_functions() {
            let Some(hook) = Hook::ALL
                .into_iter()
                .find(|hook| hook.as_str() == function.name)
            else {
                continue;
            };
            let parameters = hook.parameters();
            if function.params.len() != parameters.len() {
                let message = format!("`{hook}` has to be `fn {hook}({})`", parameters.join(", "));
                return Err(Mistake(Position::NONE, message));
            }
            hooks.push(hook);
        }
        if hooks.is_empty() {
            let message = "it defines none of `admit`, `schedule` and `retry`".to_owned();
            return Err(Mistake(Position::NONE, message));
        }
        Ok(Self {
            engine,
            script,
            hooks,
            budget,
        })
    }

    /// The script has this function: where it has not, nobody needs to make views for it.
    pub fn has(&self, hook: Hook) -> bool {
        self.hooks.contains(&hook)
    }

    /// Whether a task is taken; `None` where the script leaves that to what is built in.
    pub fn admit(&self, snapshot: &View, task: &View) -> Result<Option<Admission>, ScriptFault> {
        let hook = Hook::Admit;
        let Some(answer) = self.call(hook, (snapshot.value(), task.value()))? else {
            return Ok(None);
        };
        let admission = match answer.as_bool() {
            Ok(true) => Admission::Admitted,
            Ok(false) => Admission::Refused("the policy refuses it".into()),
            Err(_) => Admission::Refused(text(hook, answer, "true, false or a text")?),
        };
        Ok(Some(admission))
    }

    /// The worker that a task goes to. Whether there is such a worker, and whether it can take the task, is for who
    /// asks to check.
    pub fn schedule(&self, snapshot: &View, task: &View) -> Result<Option<String>, ScriptFault> {
        let hook = Hook::Schedule;
        self.call(hook, (snapshot.value(), task.value()))?
            .map(|answer| text(hook, answer, "the id of a worker or nothing"))
            .transpose()
    }

    /// Whether a task runs again on another worker.
    pub fn retry(
        &self,
        snapshot: &View,
        task: &View,
        error: &View,
    ) -> Result<Option<bool>, ScriptFault> {
        let hook = Hook::Retry;
        let arguments = (snapshot.value(), task.value(), error.value());
        let Some(answer) = self.call(hook, arguments)? else {
            return Ok(None);
        };
        let answer = answer.as_bool();
        answer
            .map(Some)
            .map_err(|found| wrong(hook, found, "true, false or nothing"))
    }

    /// `None` where the script has no such function, or where that gives nothing back.
    fn call(&self, hook: Hook, arguments: impl FuncArgs) -> Result<Option<Dynamic>, ScriptFault> {
        if !self.has(hook) {
            return Ok(None);
        }
        let options = CallFnOptions::new().eval_ast(false);
        let answer = sandbox::within(self.budget.time, || {
            self.engine.call_fn_with_options::<Dynamic>(
                options,
                &mut Scope::new(),
                &self.script,
                hook.as_str(),
                arguments,
            )
        });
        let answer = answer.map_err(|error| ScriptFault::of(hook, &error))?;
        Ok(Some(answer).filter(|answer| !answer.is_unit()))
    }
}

fn text(hook: Hook, answer: Dynamic, expected: &str) -> Result<String, ScriptFault> {
    answer
        .into_string()
        .map_err(|found| wrong(hook, found, expected))
}

fn wrong(hook: Hook, found: &str, expected: &str) -> ScriptFault {
    let message = format!("it has to answer {expected}, and answers a value of type {found}");
    ScriptFault::new(hook, FaultKind::WrongAnswer, message)
}
