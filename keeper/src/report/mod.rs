//! What commands print. Text, JSON and Markdown render the same values.

pub mod document;
pub mod drift;
pub mod markdown;
pub mod outcome;
pub mod plan;
pub mod schema;
pub mod status;
pub mod style;
pub mod support;
pub mod table;

pub use style::Style;
