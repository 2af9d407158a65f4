//! Exit codes of `rbee`.

/// What a run tells its caller by its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// Done, nothing left to do.
    pub const DONE: Self = Self(0);
    pub const ERROR: Self = Self(1);
    /// `plan --detailed-exitcode` found changes.
    pub const CHANGES: Self = Self(2);
    /// An apply was partly done.
    pub const PARTLY: Self = Self(3);
    /// A pool was unreachable; the rest was done.
    pub const UNREACHABLE: Self = Self(4);
    /// A check or a gate failed, or a model would be down for longer than it may.
    pub const GATE: Self = Self(5);
    /// The saved plan is stale.
    pub const STALE: Self = Self(6);
    /// Somebody else applies to a pool.
    pub const LOCKED: Self = Self(7);
    /// The command line is wrong.
    pub const USAGE: Self = Self(64);
    pub const INTERRUPTED: Self = Self(130);
}
