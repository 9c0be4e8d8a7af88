//! What the node counts, for Prometheus, at a port that its operator names.
//!
//! For: [`serve`]. Not for: what is counted (see [`crate::overlay`]), nor for people: `parlor status` says what they ask.

use std::{io, net::SocketAddr};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::overlay::Overlay;

/// OpenMetrics, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves `/metrics` until `stop`.
///
/// # Errors
///
/// Something else listens there.
pub(crate) async fn serve(address: SocketAddr, overlay: Overlay, stop: CancellationToken) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "metrics are served");
    let router = Router::new().route("/metrics", get(metrics)).with_state(overlay);
    tokio::spawn(async move {
        let serving = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::warn!(%error, "metrics are no longer served");
        }
    });
    Ok(())
}

async fn metrics(State(overlay): State<Overlay>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPEN_METRICS)], overlay.metrics())
}
