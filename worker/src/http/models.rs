//! `GET /v1/models`, and `POST /tokenize`.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http_front::Refusal;
use pool_core::serving::ErrorCode;
use pool_core::serving::openai::{ModelCard, ModelList, TokenizeRequest, Tokenized};

use super::{Service, prompt};
use crate::engine::Refused;

pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<ModelList> {
    Json(ModelList {
        object: "list",
        data: vec![card(&service)],
    })
}

pub(super) async fn one(
    State(service): State<Arc<Service>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ModelCard>, Refusal> {
    let id = id.map(|Path(id)| id).unwrap_or_default();
    check(&service, &id)?;
    Ok(Json(card(&service)))
}

/// Only the model of this worker can be asked for.
pub(super) fn check(service: &Service, model: &str) -> Result<(), Refusal> {
    let served = &service.launch.model;
    if model == served.as_str() {
        return Ok(());
    }
    let message = format!("there is no such model here: this worker serves `{served}`");
    Err(Refusal::new(ErrorCode::NotFound, message).model_not_found())
}

fn card(service: &Service) -> ModelCard {
    ModelCard {
        id: service.launch.model.clone(),
        object: "model",
        created: service.started_at.as_second(),
        owned_by: "rbee",
        max_model_len: service.engine.text().map(|(_, context)| context as u64),
    }
}

pub(super) async fn tokenize(
    State(service): State<Arc<Service>>,
    http_front::Json(body): http_front::Json,
) -> Result<Json<Tokenized>, Refusal> {
    let request = TokenizeRequest::from_json(&body)?;
    if let Some(model) = &request.model {
        check(&service, model)?;
    }
    let (_, context) = service.engine.text().ok_or(Refused::Loading)?;
    let input = request.input;
    let tokens = prompt::tokenize(&service, input, request.add_special_tokens).await?;
    Ok(Json(Tokenized {
        count: tokens.len() as u64,
        tokens,
        max_model_len: context as u64,
    }))
}
