//! A file of tenants as it is written, checked as a whole.

use std::collections::{HashMap, HashSet};

use pool_core::digest::Sha256;

use super::problem::{Place, Problem};
use super::yaml::{self, Node, Value};
use super::{Quotas, Tenant, Tenants};

const HEAVIEST: u32 = 1000;
const LONGEST_NAME: usize = 64;

/// The tenants of a text, or everything that is wrong with it, in its order.
pub(super) fn read(text: &str) -> Result<Tenants, Vec<Problem>> {
    let mut reader = Reader::default();
    let root = yaml::read(text, &mut reader.problems);
    let tenants = match &root {
        Some(root) => reader.file(root),
        None if reader.problems.is_empty() => {
            let start = Place { line: 1, column: 1 };
            reader.report(start, "the file is empty", "begin with `tenants:`");
            Vec::new()
        }
        None => Vec::new(),
    };
    let mut problems = reader.problems;
    if problems.is_empty() {
        return Ok(Tenants::new(tenants));
    }
    problems.sort_by_key(|problem| problem.place);
    Err(problems)
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
    names: HashSet<String>,
    /// Where each key stands.
    keys: HashMap<Sha256, Place>,
}

impl Reader {
    fn report(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.problems.push(Problem::new(place, message, hint));
    }

    fn file(&mut self, root: &Node) -> Vec<(Tenant, Vec<Sha256>)> {
        let Some([tenants]) = self.fields(root, "the file", ["tenants"]) else {
            return Vec::new();
        };
        let Some(tenants) = tenants else {
            self.report(
                root.place,
                "`tenants` is missing",
                "write `tenants:` and a list",
            );
            return Vec::new();
        };
        let items = self.list(tenants, "`tenants`");
        items.iter().filter_map(|item| self.tenant(item)).collect()
    }

    fn tenant(&mut self, node: &Node) -> Option<(Tenant, Vec<Sha256>)> {
        let fields = ["name", "keys", "quotas", "weight"];
        let [name, keys, quotas, weight] = self.fields(node, "a tenant", fields)?;
        if name.is_none() {
            self.report(node.place, "a tenant has no `name`", "add `name: …`");
        }
        let name = name.and_then(|name| self.name(name));
        if keys.is_none() {
            let hint =
                "add `keys:` with the sha256 of each of its API keys; an empty list locks it out";
            self.report(node.place, "a tenant has no `keys`", hint);
        }
        let keys = keys.map_or(&[][..], |keys| self.list(keys, "`keys`"));
        let keys = keys.iter().filter_map(|key| self.key(key)).collect();
        let quotas = quotas.map_or_else(Quotas::default, |quotas| self.quotas(quotas));
        let weight = match weight {
            Some(node) => self.number(node, "`weight`", u64::from(HEAVIEST)),
            None => Some(1),
        };
        let tenant = Tenant {
            name: name?,
            quotas,
            weight: u32::try_from(weight?).ok()?,
        };
        Some((tenant, keys))
    }

    fn name(&mut self, node: &Node) -> Option<String> {
        let name = self.scalar(node, "`name`")?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
            let hint = format!("1 to {LONGEST_NAME} of the letters, digits, `-`, `_` and `.`");
            self.report(node.place, "this is no name of a tenant", hint);
            return None;
        }
        if !self.names.insert(name.to_owned()) {
            let hint = "give each its own name, or put the keys of both together";
            self.report(
                node.place,
                format!("there is a tenant `{name}` already"),
                hint,
            );
        }
        Some(name.to_owned())
    }

    /// The text is not repeated: it may be the key itself.
    fn key(&mut self, node: &Node) -> Option<Sha256> {
        let text = self.scalar(node, "a key")?;
        let Ok(digest) = text.parse() else {
            let hint = "write the sha256 of the key, never the key: 64 digits from 0-9 and a-f; `orchestratord keygen` prints both";
            self.report(node.place, "this is no sha256", hint);
            return None;
        };
        match self.keys.insert(digest, node.place) {
            None => Some(digest),
            Some(other) => {
                let message = format!("this key stands in line {} already", other.line);
                self.report(node.place, message, "a key is of one tenant: make another");
                None
            }
        }
    }

    fn quotas(&mut self, node: &Node) -> Quotas {
        let names = ["concurrent", "tokens_per_minute", "tokens_per_day"];
        let Some([concurrent, minute, day]) = self.fields(node, "`quotas`", names) else {
            return Quotas::default();
        };
        let mut number = |node: Option<&Node>, name: &str, most| {
            node.and_then(|node| self.number(node, name, most))
        };
        Quotas {
            concurrent: number(concurrent, "`concurrent`", u64::from(u32::MAX))
                .and_then(|number| u32::try_from(number).ok()),
            tokens_per_minute: number(minute, "`tokens_per_minute`", u64::MAX),
            tokens_per_day: number(day, "`tokens_per_day`", u64::MAX),
        }
    }

    fn number(&mut self, node: &Node, what: &str, most: u64) -> Option<u64> {
        let text = self.scalar(node, what)?;
        match text.parse() {
            Ok(number) if (1..=most).contains(&number) => Some(number),
            _ => {
                let hint = match most {
                    u64::MAX => "a whole number from 1 on".to_owned(),
                    _ => format!("a whole number from 1 to {most}"),
                };
                self.report(node.place, format!("{what} cannot be this"), hint);
                None
            }
        }
    }

    fn scalar<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(text) => return Some(text),
            Value::Refused => {}
            _ => self.report(
                node.place,
                format!("{what} is a single value"),
                "write it behind the colon",
            ),
        }
        None
    }

    fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(items) => return items,
            Value::Refused => {}
            _ => self.report(
                node.place,
                format!("{what} is a list"),
                "write each item behind a `- `",
            ),
        }
        &[]
    }

    /// The values of a mapping by their names; others are told.
    fn fields<'n, const N: usize>(
        &mut self,
        node: &'n Node,
        what: &str,
        names: [&str; N],
    ) -> Option<[Option<&'n Node>; N]> {
        let entries = match &node.value {
            Value::Mapping(entries) => entries,
            Value::Refused => return None,
            _ => {
                let hint = format!("write `key: value` with: {}", names.join(", "));
                self.report(node.place, format!("{what} is a mapping"), hint);
                return None;
            }
        };
        let mut found = [None; N];
        for (key, value) in entries {
            if let Some(at) = names.iter().position(|name| *name == key.text) {
                found[at] = Some(value);
            } else {
                let message = format!("{what} has no `{}`", key.text);
                self.report(key.place, message, format!("it has: {}", names.join(", ")));
            }
        }
        Some(found)
    }
}
