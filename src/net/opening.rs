//! From an accepted TCP connection to a stream of MQTT: the handshakes of TLS and WebSocket, bounded in time and number.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;

use super::connection::Connection;
use super::door::{Door, Place};
use super::opening_error::OpeningError;
use super::protocol::Protocol;
use super::transport::{Tcp, Transport};
use super::web_socket::WebSocket;

/// Serves an accepted connection, on a task of its own.
pub(super) fn serve(door: &Arc<Door>, protocol: &Protocol, stream: TcpStream, place: Place) {
    let tcp = Tcp::new(stream);
    match protocol {
        Protocol::Mqtt => connect(door, tcp, place),
        Protocol::Mqtts(tls) => {
            let tls = tls.clone();
            open(door, protocol, place, async move { tls.accept(tcp).await });
        }
        Protocol::Ws => open(door, protocol, place, WebSocket::accept(tcp)),
        Protocol::Wss(tls) => {
            let tls = tls.clone();
            open(door, protocol, place, async move { WebSocket::accept(tls.accept(tcp).await?).await });
        }
    }
}

/// Runs a handshake, on a task of its size, and gives what comes of it another one.
fn open<T: Transport>(
    door: &Arc<Door>,
    protocol: &Protocol,
    place: Place,
    handshake: impl Future<Output = Result<T, OpeningError>> + Send + 'static,
) {
    let (door, listener) = (door.clone(), protocol.name());
    let patience = door.broker().limits().connect_timeout;
    tokio::spawn(async move {
        let waiting = door.handshakes.enter();
        let result = tokio::select! {
            result = tokio::time::timeout(patience, handshake) => result.unwrap_or(Err(OpeningError::Timeout)),
            () = waiting.lost() => Err(OpeningError::CrowdedOut),
        };
        match result {
            Ok(transport) => connect(&door, transport, place),
            Err(error) => door.handle_failure(listener, &error, Instant::now()),
        }
    });
}

fn connect<T: Transport>(door: &Arc<Door>, transport: T, place: Place) {
    tokio::spawn(Connection::new(door.broker().clone(), transport, place));
}
