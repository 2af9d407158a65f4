//! The models of a pool against its catalog.

use std::collections::BTreeSet;

use pool_core::digest::Sha256;
use pool_core::facts;
use pool_core::name::FleetName;
use pool_core::observation::ObservedModel;

use super::ModelDrift;
use crate::desired::{Content, DesiredModel};
use crate::reason::{FieldChange, Reason};

/// The contents that a pool has.
#[derive(Default)]
pub(super) struct Contents {
    /// Checked, and as they were then.
    pub whole: BTreeSet<Sha256>,
    /// Written or replaced since they were checked.
    pub touched: BTreeSet<Sha256>,
}

/// What one model vouches for is whole, whatever another says of it: a content is there once.
pub(super) fn contents(models: &[ObservedModel]) -> Contents {
    let mut contents = Contents::default();
    for model in models {
        for file in &model.entry.files {
            let (path, sha256) = (&file.file.path, file.file.sha256);
            let was_checked = model.entry.downloaded || file.verified.is_some();
            if model.touched.contains(path) {
                contents.touched.insert(sha256);
            } else if was_checked && !model.damaged.contains(path) {
                contents.whole.insert(sha256);
            }
        }
    }
    contents
        .touched
        .retain(|sha256| !contents.whole.contains(sha256));
    contents
}

pub(super) fn diff_model(
    fleet: &FleetName,
    model: &DesiredModel,
    current: Option<&ObservedModel>,
) -> Option<ModelDrift> {
    let content = match &model.content {
        Ok(content) => content,
        Err(why) => return Some(ModelDrift::Blocked { why: why.clone() }),
    };
    let digest = content.digest();
    if current.is_some_and(|current| current.entry.digest == digest && current.is_whole()) {
        return None;
    }
    let reason = match current {
        None => Reason::NotThere,
        Some(current) if current.entry.fleet.as_ref() != Some(fleet) => {
            let why = why_taken(current, digest);
            return Some(ModelDrift::Blocked { why });
        }
        Some(current) if current.entry.digest != digest => Reason::Changed {
            fields: changes(current, content),
        },
        Some(current) if !current.entry.downloaded => Reason::Incomplete,
        Some(current) if !current.damaged.is_empty() => Reason::Damaged {
            files: current.damaged.clone(),
        },
        Some(current) => Reason::Touched {
            files: current.touched.clone(),
        },
    };
    Some(ModelDrift::Bring {
        source: model.source.clone(),
        content: content.clone(),
        reason,
        protect: model.protect,
        in_use: false,
        was: current.map(|current| facts::model(&current.entry)),
    })
}

/// The commits of a model of the hub, and the digests.
fn changes(current: &ObservedModel, content: &Content) -> Vec<FieldChange> {
    let change = |field: &str, from: String, to: String| FieldChange {
        field: field.into(),
        from,
        to,
    };
    let entry = &current.entry;
    let short = |commit: &String| commit.chars().take(12).collect();
    let commits = entry.source.revision.as_ref().zip(content.commit.as_ref());
    let commits = commits.filter(|(from, to)| from != to);
    let commits = commits.map(|(from, to)| change("commit", short(from), short(to)));
    let to = content.digest().short();
    let digests = change("digest", entry.digest.short(), to);
    commits.into_iter().chain([digests]).collect()
}

/// What somebody else has under the name of a model that the fleet wants.
fn why_taken(current: &ObservedModel, wanted: Sha256) -> String {
    let owner = match &current.entry.fleet {
        Some(owner) => format!("fleet {owner}"),
        None => "a person".into(),
    };
    let what = if current.entry.digest != wanted {
        "another model"
    } else if current.entry.downloaded && current.damaged.is_empty() {
        "a model that changed on the disk since it was checked"
    } else {
        "an unfinished model"
    };
    format!("{owner} has registered {what} under this name there")
}
