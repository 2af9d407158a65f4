//! Where the files of a model come from.

use std::collections::BTreeMap;

use pool_core::source::Source;
use pool_core::units;
use reconciler::plan::{Action, ActionKind, FetchFile, Plan, Supply};

/// `900.0 MB from pool blep, 88.1 MB from the hub`.
pub fn ways(source: &Source, files: &[FetchFile]) -> String {
    let mut ways: BTreeMap<&Supply, u64> = BTreeMap::new();
    for file in files {
        *ways.entry(&file.from).or_default() += file.bytes();
    }
    let way = |(from, bytes): (&Supply, u64)| {
        let bytes = units::bytes(bytes);
        match from {
            Supply::Here => format!("{bytes} to check there, and to bring if they are wrong"),
            Supply::Pool(pool) => format!("{bytes} from pool {pool}"),
            Supply::Hub => format!("{bytes} from the hub"),
            Supply::Operator => format!("{bytes} from {source}"),
        }
    };
    let ways: Vec<String> = ways.into_iter().map(way).collect();
    if ways.is_empty() {
        "from what is there".into()
    } else {
        ways.join(", ")
    }
}

/// A line for each file, where they come from several places or are not all of the model's.
pub fn files(plan: &Plan, fetch: &Action) -> Vec<String> {
    let ActionKind::Fetch { files, .. } = &fetch.kind else {
        return Vec::new();
    };
    let is_of_one_way = files.iter().all(|file| file.from == files[0].from);
    let is_whole = fetch.needs.iter().any(|id| match plan.action(*id) {
        Some(Action {
            kind: ActionKind::Register { manifest, .. },
            ..
        }) => manifest.files.len() == files.len(),
        _ => false,
    });
    if is_of_one_way && is_whole {
        return Vec::new();
    }
    let name = |supply: &Supply| match supply {
        Supply::Here => "here".into(),
        Supply::Pool(pool) => format!("pool {pool}"),
        Supply::Hub => "hub".into(),
        Supply::Operator => "operator".into(),
    };
    let cells = files.iter().map(|fetched| {
        let mut from = name(&fetched.from);
        if let Some(instead) = &fetched.instead {
            from += &format!(", else {}", name(instead));
        }
        if fetched.arrived > 0 {
            from += &format!(" (the rest of {})", units::bytes(fetched.file.size));
        }
        let path = fetched.file.path.as_str();
        (path, units::bytes(fetched.bytes()), from)
    });
    let cells: Vec<_> = cells.collect();
    let paths = cells.iter().map(|(path, _, _)| path.chars().count());
    let path_width = paths.max().unwrap_or(0);
    let sizes = cells.iter().map(|(_, size, _)| size.len());
    let size_width = sizes.max().unwrap_or(0);
    let line = |(path, size, from): (&str, String, String)| {
        format!("{path:path_width$}  {size:>size_width$}  {from}")
    };
    cells.into_iter().map(line).collect()
}
