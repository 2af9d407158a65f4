//! What the operator's script is shown, made anew where it has changed.

use std::collections::BTreeMap;

use pool_core::name::ModelId;

use crate::core::{Snapshot, TaskView, Warmth, Worker, WorkerView};
use crate::policy::{Unviewable, View};

/// Workers as they were shown last, each with its view: by model, in the order of the snapshot.
///
/// A view is used again only for a worker that is equal to the one it was made of, so none is ever behind.
#[derive(Clone, Default)]
pub(super) struct Shown(BTreeMap<ModelId, Vec<(WorkerView, View)>>);

/// Models whose workers are remembered.
const MODELS: usize = 100;

impl Shown {
    /// The snapshot with its workers, each with what it has of the task.
    pub fn snapshot(
        &mut self,
        snapshot: &Snapshot<'_>,
        task: &TaskView,
    ) -> Result<View, Unviewable> {
        if self.0.len() > MODELS {
            self.0.clear();
        }
        let known = self.0.entry(snapshot.model.clone()).or_default();
        known.truncate(snapshot.workers.len());
        let mut warmths = Warmths::default();
        let mut workers = Vec::with_capacity(snapshot.workers.len());
        for (at, worker) in snapshot.workers.iter().enumerate() {
            let view = view(known, at, worker)?;
            workers.push(view.with(&warmths.view(worker.warmth(task))?));
        }
        Ok(View::of(snapshot)?.with(&View::list("workers", workers)))
    }
}

/// The view of a worker, made if it is not the one that is known.
fn view<'a>(
    known: &'a mut Vec<(WorkerView, View)>,
    at: usize,
    worker: &Worker,
) -> Result<&'a View, Unviewable> {
    let shown: &WorkerView = worker;
    if known.get(at).is_none_or(|(was, _)| was != shown) {
        let made = (shown.clone(), View::of(shown)?);
        match known.get_mut(at) {
            Some(old) => *old = made,
            None => known.push(made),
        }
    }
    Ok(&known[at].1)
}

/// The few different ones among all workers.
#[derive(Default)]
struct Warmths(Vec<(Warmth, View)>);

impl Warmths {
    fn view(&mut self, warmth: Warmth) -> Result<View, Unviewable> {
        let same = |(known, _): &&(Warmth, View)| *known == warmth;
        if let Some((_, view)) = self.0.iter().find(same) {
            return Ok(view.clone());
        }
        let view = View::of(&warmth)?;
        self.0.push((warmth, view.clone()));
        Ok(view)
    }
}
