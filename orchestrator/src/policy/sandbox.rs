//! An engine for scripts that may compute, for a bounded time, and nothing else.

use std::cell::Cell;
use std::time::Duration;

use rhai::packages::{Package as _, StandardPackage};
use rhai::{Engine, EvalAltResult, FLOAT, INT};
use rustix::time::{ClockId, clock_gettime};

use super::view;

/// What one call of a script may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Steps of the interpreter.
    pub operations: u64,
    /// Time that it computes. A script that the machine interrupts is not at fault.
    pub time: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            operations: 100_000,
            time: Duration::from_millis(2),
        }
    }
}

const CALL_DEPTH: usize = 32;
const EXPRESSION_DEPTH: usize = 64;
const STRING_BYTES: usize = 16 << 10;
const ITEMS: usize = 10_000;
const VARIABLES: usize = 200;
const FUNCTIONS: usize = 100;
/// Steps between two looks at the clock.
const STRIDE: u64 = 64;

thread_local! {
    /// When the call that runs on this thread is over its time.
    static UNTIL: Cell<Option<Until>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Until {
    at: Duration,
    /// A script that catches the first refusal meets it again at its next step.
    is_over: bool,
}

/// Has neither files, modules, output, `eval` nor a clock.
pub(super) fn engine(budget: Budget) -> Engine {
    let mut engine = Engine::new_raw();
    engine.register_global_module(StandardPackage::new().as_shared_module());
    engine.disable_symbol("eval");
    engine.register_fn("sleep", |_: INT| no_sleep());
    engine.register_fn("sleep", |_: FLOAT| no_sleep());
    engine
        .set_strict_variables(true)
        .set_max_operations(budget.operations)
        .set_max_call_levels(CALL_DEPTH)
        .set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH)
        .set_max_string_size(STRING_BYTES)
        .set_max_array_size(ITEMS)
        .set_max_map_size(ITEMS)
        .set_max_variables(VARIABLES)
        .set_max_functions(FUNCTIONS)
        .on_progress(|operations| is_over(operations).then(|| "it took too long".into()));
    view::register(&mut engine);
    engine
}

fn no_sleep() -> Result<(), Box<EvalAltResult>> {
    Err("a policy cannot sleep".into())
}

/// Runs a call that has this much time.
pub(super) fn within<T>(time: Duration, call: impl FnOnce() -> T) -> T {
    let at = now() + time;
    UNTIL.set(Some(Until { at, is_over: false }));
    let value = call();
    UNTIL.set(None);
    value
}

fn is_over(operations: u64) -> bool {
    let Some(mut until) = UNTIL.get() else {
        return false;
    };
    if !until.is_over && operations.is_multiple_of(STRIDE) {
        until.is_over = now() >= until.at;
        UNTIL.set(Some(until));
    }
    until.is_over
}

/// What this thread has computed.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
