//! Whether a model fits the memory that is free.

use pool_core::device::Backend;
use pool_core::{fit, machine};

use super::config::Config;
use super::error::ModelError;

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub bytes: fit::Need,
    /// Tokens and sequences that `kv` is for.
    pub context: usize,
    pub slots: usize,
}

impl Need {
    /// The longest context for which as many slots fit into `free` bytes; none when the weights do not.
    pub fn context_that_fits(&self, free: u64) -> Option<u64> {
        let fit::Need {
            weights,
            kv,
            scratch,
        } = self.bytes;
        let left = free.checked_sub(weights.saturating_add(scratch))?;
        let tokens = u128::from(left) * self.context as u128 / u128::from(kv.max(1));
        u64::try_from(tokens).ok().filter(|&tokens| tokens > 0)
    }
}

/// Bytes of the largest step, of its logits and its scores.
pub fn scratch(
    backend: Backend,
    config: &Config,
    slots: usize,
    context: usize,
    threads: usize,
) -> u64 {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let shape = config.shape();
    shape.scratch(backend, number(slots), number(context), number(threads))
}

/// Refuses what does not fit into what is free, where that is known.
pub fn check(need: &Need, free: Option<u64>) -> Result<(), ModelError> {
    match free {
        Some(free) if need.bytes.total() > free => {
            Err(ModelError::DoesNotFit { need: *need, free })
        }
        _ => Ok(()),
    }
}

/// Bytes that this process may still take: what the machine has available, or less where a control group says so. Unknown
/// where the system does not tell.
pub fn free() -> Option<u64> {
    let memory = machine::memory(|path| std::fs::read_to_string(path).ok())?;
    Some(memory.available)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_that_fits_is_what_the_weights_leave() {
        let bytes = fit::Need {
            weights: 1000,
            kv: 4000,
            scratch: 200,
        };
        let need = Need {
            bytes,
            context: 100,
            slots: 4,
        };
        assert_eq!(need.context_that_fits(3200), Some(50));
        assert_eq!(need.context_that_fits(1200), None);
        assert_eq!(need.context_that_fits(999), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_some_memory_free() {
        assert!(free().unwrap() > 1 << 20);
    }
}
