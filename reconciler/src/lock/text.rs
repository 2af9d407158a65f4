//! The form of a lock file.

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use pool_core::name::ModelId;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::{Lock, LockError, Locked};

#[derive(Serialize)]
struct Out<'a> {
    version: u64,
    models: &'a BTreeMap<ModelId, Locked>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct In {
    #[serde(rename = "version")]
    _version: u64,
    #[serde(deserialize_with = "models")]
    models: Vec<(ModelId, Locked)>,
}

/// What every version has.
#[derive(Deserialize)]
struct Version {
    version: u64,
}

pub(super) fn parse(text: &str) -> Result<Lock, LockError> {
    let read = serde_json::from_str(text);
    // Another version may have another form; a text that has none is judged by this one.
    if let Ok(Version { version }) = serde_json::from_str(text)
        && version != Lock::VERSION
    {
        return Err(LockError::Version(version));
    }
    let In { models, .. } = read?;
    let mut lock = Lock::default();
    for (id, locked) in models {
        let is_twice = lock.models.contains_key(&id);
        let mistake = locked.mistake().or(is_twice.then_some("it is there twice"));
        if let Some(mistake) = mistake {
            let (line, column) = place(text, &id);
            let message = format!("model `{id}`: {mistake}");
            return Err(LockError::Text {
                line,
                column,
                message,
            });
        }
        lock.models.insert(id, locked);
    }
    Ok(lock)
}

/// Line and column of the last object of this name.
fn place(text: &str, id: &ModelId) -> (usize, usize) {
    let key = format!("\"{id}\"");
    let is_object = |at: &usize| {
        let rest = text[at + key.len()..].trim_start().strip_prefix(':');
        rest.is_some_and(|rest| rest.trim_start().starts_with('{'))
    };
    let mut places = text.rmatch_indices(&key).map(|(at, _)| at);
    let before = &text[..places.find(is_object).unwrap_or(0)];
    let start_of_line = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[start_of_line..].chars().count() + 1)
}

impl From<serde_json::Error> for LockError {
    fn from(error: serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let message = error.to_string();
        let place = format!(" at line {line} column {column}");
        Self::Text {
            line,
            column,
            message: message.strip_suffix(&place).unwrap_or(&message).to_owned(),
        }
    }
}

/// Reads models so that a mistake in one names it.
fn models<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(ModelId, Locked)>, D::Error> {
    struct Models;

    impl<'de> Visitor<'de> for Models {
        type Value = Vec<(ModelId, Locked)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("models by their names")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut models = Vec::new();
            while let Some(id) = map.next_key::<ModelId>()? {
                // The place that the text of the error ends with becomes its place again.
                let named = |error| A::Error::custom(format!("model `{id}`: {error}"));
                let locked = map.next_value().map_err(named)?;
                models.push((id, locked));
            }
            Ok(models)
        }
    }

    from.deserialize_map(Models)
}

pub(super) fn write(lock: &Lock, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let out = Out {
        version: Lock::VERSION,
        models: &lock.models,
    };
    let mut json = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut json, Rows::default());
    out.serialize(&mut serializer).map_err(|_| fmt::Error)?;
    let json = String::from_utf8(json).map_err(|_| fmt::Error)?;
    writeln!(f, "{json}")
}

/// Pretty JSON, but for the objects of an array: each is one line.
#[derive(Default)]
struct Rows {
    pretty: PrettyFormatter<'static>,
    in_array: bool,
}

impl Formatter for Rows {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.in_array = true;
        self.pretty.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.in_array = false;
        self.pretty.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.pretty.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.in_array {
            return writer.write_all(b"{ ");
        }
        self.pretty.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.in_array {
            return writer.write_all(b" }");
        }
        self.pretty.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        match (self.in_array, first) {
            (true, true) => Ok(()),
            (true, false) => writer.write_all(b", "),
            (false, _) => self.pretty.begin_object_key(writer, first),
        }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.pretty.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        if self.in_array {
            return Ok(());
        }
        self.pretty.end_object_value(writer)
    }
}
