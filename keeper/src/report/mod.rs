//! What commands print. Text, JSON and the rest render the same values.

pub mod outcome;
pub mod plan;
pub mod status;
pub mod table;
