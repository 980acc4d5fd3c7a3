//! The HTTP request that becomes a WebSocket.

use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::net::origins::PageOrigins;
use crate::net::transport::Transport;

/// Reads the request, answers it, and gives the stream back. The path is not looked at. The library bounds the request: 64 KiB,
/// 124 headers.
pub(super) async fn accept<S: Transport>(stream: S, origins: &PageOrigins) -> Result<S, Error> {
    // Its reader and writer are not used; they shall not be large.
    let config = WebSocketConfig::default().read_buffer_size(0).write_buffer_size(0);
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let answer = |request: &Request, response| answer(request, response, origins);
    let socket = accept_hdr_async_with_config(stream, answer, Some(config)).await?;
    Ok(socket.into_inner())
}

#[expect(clippy::result_large_err, reason = "the library's type")]
fn answer(
    request: &Request,
    mut response: Response,
    origins: &PageOrigins,
) -> Result<Response, ErrorResponse> {
    if !origins.admit(request.headers()) {
        return Err(refusal(StatusCode::FORBIDDEN, "pages from there may not connect: see ws_origins\n"));
    }
    let Some(protocol) = sub_protocol(request.headers()) else {
        let why = "MQTT is spoken here: ask for the sub-protocol \"mqtt\" (Sec-WebSocket-Protocol)\n";
        return Err(refusal(StatusCode::BAD_REQUEST, why));
    };
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    Ok(response)
}

fn refusal(status: StatusCode, why: &str) -> ErrorResponse {
    let mut refusal = ErrorResponse::new(Some(why.to_owned()));
    *refusal.status_mut() = status;
    refusal.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    refusal
}

/// The client's name for MQTT: `mqtt` if it offers that [MQTT-6.0.0-3] [MQTT-6.0.0-4], else the first that begins so, as `mqttv3.1`
/// and other names from before there was one.
fn sub_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offers = || {
        let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).map(str::trim)
    };
    let chosen =
        offers().find(|name| *name == "mqtt").or_else(|| offers().find(|name| name.starts_with("mqtt")));
    HeaderValue::from_str(chosen?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_gets_a_name_of_mqtt_that_it_offered() {
        for (offers, chosen) in [
            (&["mqtt"][..], Some("mqtt")),
            (&["mqttv3.1"], Some("mqttv3.1")),
            (&["mqttv3.1, mqtt"], Some("mqtt")),
            (&["chat,mqtt-v5", "mqttv3.1"], Some("mqtt-v5")),
            (&["chat", " mqtt "], Some("mqtt")),
            (&["chat"], None),
            (&["MQTT"], None),
            (&[""], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for offer in offers {
                headers.append(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offer));
            }
            assert_eq!(
                sub_protocol(&headers).as_ref().map(|name| name.to_str().unwrap()),
                chosen,
                "{offers:?}"
            );
        }
    }
}
