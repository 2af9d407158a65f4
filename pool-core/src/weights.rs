//! How a worker keeps the weights of its model.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Declares an enum of words with one spelling each, for people, JSON and the command line.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $noun:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidWord;

            fn from_str(text: &str) -> Result<Self, InvalidWord> {
                let found = Self::ALL.iter().find(|word| word.as_str() == text);
                found.copied().ok_or_else(|| InvalidWord {
                    text: text.to_owned(),
                    noun: $noun,
                    accepted: Self::ALL.iter().map(|word| word.as_str()).collect(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$($word),*] })
            }
        }
    };
}

words! {
    /// The kind of number that weights which are not quantised are kept in.
    #[derive(Default)]
    Dtype: "a kind of number" {
        /// As the file holds them.
        #[default]
        Auto = "auto",
        F32 = "f32",
        Bf16 = "bf16",
        F16 = "f16",
    }
}

words! {
    /// What the matrices of a model are quantised to while they are loaded.
    Quantization: "a kind that weights are quantised to" {
        /// 8 bits a weight, a scale for each 32.
        Q8_0 = "q8_0",
        /// 4 bits a weight, a scale for each 32.
        Q4 = "q4",
    }
}

impl Dtype {
    /// As the file holds them.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// The text is none of the words that are accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {noun}: write {}", accepted.join(" or "))]
pub struct InvalidWord {
    pub text: String,
    pub noun: &'static str,
    pub accepted: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_it_prints() {
        for word in Dtype::ALL {
            assert_eq!(word.to_string().parse(), Ok(*word));
            let json = serde_json::to_string(word).unwrap();
            assert_eq!(json, format!("\"{word}\""));
            assert_eq!(serde_json::from_str::<Dtype>(&json).unwrap(), *word);
        }
        for word in Quantization::ALL {
            assert_eq!(word.to_string().parse(), Ok(*word));
            let json = serde_json::to_string(word).unwrap();
            assert_eq!(json, format!("\"{word}\""));
            assert_eq!(serde_json::from_str::<Quantization>(&json).unwrap(), *word);
        }
    }

    #[test]
    fn a_kind_that_only_files_have_is_refused_with_what_is_accepted() {
        for text in ["q4_k", "Q8_0", "int8", ""] {
            let error = text.parse::<Quantization>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` ")), "{error}");
            assert!(error.ends_with("write q8_0 or q4"), "{error}");
        }
        let error = "float".parse::<Dtype>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`float` is not a kind of number: write auto or f32 or bf16 or f16"
        );
    }
}
