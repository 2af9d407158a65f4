//! The two hosts, and their connections.

use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router, middleware};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

use crate::line::Line;
use crate::watch::{Watcher, watch};
use crate::{blobs, info, resolve, tree};

/// After an accept that failed for lack of something that ended connections give back.
const PAUSE: Duration = Duration::from_millis(50);

/// The routes of the hub or of the blob host.
pub(crate) fn router(watcher: Watcher) -> Router {
    let shared = Arc::clone(&watcher.shared);
    let routes = if watcher.is_blob_host {
        Router::new().route("/blobs/{sha256}", get(blobs::blob))
    } else {
        let model = "/api/models/{org}/{name}";
        let tree = format!("{model}/tree/{{revision}}");
        Router::new()
            .route(model, get(info::of_main))
            .route(
                &format!("{model}/revision/{{revision}}"),
                get(info::of_revision),
            )
            .route(&tree, get(tree::of_root))
            .route(&format!("{tree}/{{*folder}}"), get(tree::of_folder))
            .route(
                "/{org}/{name}/resolve/{revision}/{*path}",
                get(resolve::file),
            )
    };
    routes
        .with_state(shared)
        .layer(middleware::from_fn_with_state(watcher, watch))
}

/// Serves until the runtime ends.
pub(crate) async fn serve(listener: TcpListener, router: Router) {
    let http = http1::Builder::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let line = Line::new(stream);
        let service = router.clone().layer(Extension(line.flushes()));
        let service = TowerToHyperService::new(service);
        let connection = http.serve_connection(TokioIo::new(line), service);
        tokio::spawn(async move {
            // A client that goes away is no fault of the hub, and a cut is what was asked for.
            let _ = connection.await;
        });
    }
}
