//! `GET /v1/models`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http_front::Refusal;
use pool_core::name::ModelId;
use pool_core::serving::openai::{ModelCard, ModelList};

use super::refused::{no_model, refused};
use crate::daemon::Orchestrator;

/// The models of the fleet, served now or not.
pub async fn list(State(orchestrator): State<Arc<Orchestrator>>) -> Json<ModelList> {
    Json(ModelList {
        object: "list",
        data: cards(&orchestrator),
    })
}

pub async fn one(
    State(orchestrator): State<Arc<Orchestrator>>,
    Path(id): Path<String>,
) -> Result<Json<ModelCard>, Refusal> {
    let id: ModelId = id.parse().map_err(|_| no_model(&id))?;
    let mut cards = cards(&orchestrator).into_iter();
    let card = cards.find(|card| card.id == id);
    let why = || refused(orchestrator.ask(|core, _| core.unknown(id)));
    card.map(Json).ok_or_else(why)
}

fn cards(orchestrator: &Orchestrator) -> Vec<ModelCard> {
    let created = (orchestrator.began_unix_ms() / 1000).cast_signed();
    orchestrator.ask(|core, _| {
        let context = |id: &ModelId| {
            let workers = core.workers().filter(|worker| worker.info.model == *id);
            let contexts = workers.map(|worker| worker.info.context_length);
            contexts.filter(|&context| context > 0).max()
        };
        let models = core.models().map(|(id, _)| ModelCard {
            id: id.clone(),
            object: "model",
            created,
            owned_by: "rbee",
            max_model_len: context(id),
        });
        models.collect()
    })
}
