//! The hub, asked from this machine: by the hive that lies beside this rbee.

use futures::{StreamExt, stream};
use pool_core::name::ModelId;
use pool_core::rpc::{HiveError, Outcome, Request};
use pool_core::source::Source;
use pool_core::supply::HubAccess;
use reconciler::lock::Locked;

use crate::transport::{Bundles, CallError, HiveClient, Options};

/// Models that are looked up at the same time.
const AT_ONCE: usize = 8;

/// Why a model could not be looked up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct LookupError {
    pub what: String,
    pub help: Option<String>,
}

/// What is found of each model, in the same order. One that fails holds up no other.
pub async fn look_up(
    models: &[(ModelId, Source)],
    access: &HubAccess,
    bundles: &Bundles,
    options: &Options,
) -> Vec<Result<Locked, LookupError>> {
    if models.is_empty() {
        return Vec::new();
    }
    let hive = match start(bundles, options).await {
        Ok(hive) => hive,
        Err(error) => return vec![Err(error); models.len()],
    };
    let each = models.iter().map(|(_, source)| ask(&hive, source, access));
    let found = stream::iter(each).buffered(AT_ONCE).collect().await;
    hive.close().await;
    found
}

async fn start(bundles: &Bundles, options: &Options) -> Result<HiveClient, LookupError> {
    let bundle = bundles.here().await.map_err(|error| LookupError {
        what: error.to_string(),
        help: Some(error.help().to_owned()),
    })?;
    let program = bundle.hive().ok_or_else(|| LookupError {
        what: "there is no rbee-hive here".into(),
        help: None,
    })?;
    let started = HiveClient::start(program, options).await;
    started.map_err(|broken| LookupError {
        what: format!("{}: {broken}", program.display()),
        help: Some("rbee and rbee-hive must be of the same build".into()),
    })
}

async fn ask(
    hive: &HiveClient,
    source: &Source,
    access: &HubAccess,
) -> Result<Locked, LookupError> {
    let of = |what: String| LookupError { what, help: None };
    let request = Request::Resolve {
        source: source.clone(),
        access: access.clone(),
    };
    match hive.call(request, |_| ()).await {
        Ok(Outcome::Resolved(found)) => Locked::new(source.clone(), found).map_err(|mistake| {
            of(format!(
                "what the hub says of {source} cannot be: {mistake}"
            ))
        }),
        Ok(other) => Err(of(format!("rbee-hive answered something else: {other:?}"))),
        Err(CallError::Hive {
            error: HiveError { message, help, .. },
            ..
        }) => Err(LookupError {
            what: message,
            help,
        }),
        Err(CallError::Lost { cause, .. } | CallError::Source { cause, .. }) => {
            Err(of(format!("rbee-hive ended on the way: {cause}")))
        }
    }
}
