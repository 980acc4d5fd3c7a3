//! What a request brings, within bounds of size and time.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use tokio::time::timeout;

use super::refusal::Refusal;

/// Bytes of a request's body.
const MAX: usize = 2 << 20;
/// Time for a request's body.
const PATIENCE: Duration = Duration::from_secs(30);

/// The whole of it.
pub(super) async fn whole(body: Body) -> Result<Bytes, Refusal> {
    let late = |_| Refusal(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned());
    let too_large = |_| {
        let why = format!("the body cannot be read, or has more than {MAX} bytes");
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    timeout(PATIENCE, to_bytes(body, MAX)).await.map_err(late)?.map_err(too_large)
}
