//! From an accepted TCP connection to a stream of MQTT: what a proxy says, and the handshakes of TLS and WebSocket, bounded
//! in time and number.

use std::future::Future;
use std::net::SocketAddr;
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
pub(super) fn serve(
    door: &Arc<Door>,
    protocol: &Protocol,
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
) {
    if door.proxies.is_empty() {
        return speak(door, protocol, Tcp::new(stream, peer), place);
    }
    let (proxies, protocol) = (door.clone(), protocol.clone());
    let listener = protocol.name();
    let introduction = async move { proxies.proxies.introduce(stream, peer).await };
    open(door, listener, place, introduction, move |door, tcp, place| {
        if let Some(tcp) = tcp {
            speak(door, &protocol, tcp, place);
        }
    });
}

/// Whoever it comes from, the protocol of its listener begins now.
fn speak(door: &Arc<Door>, protocol: &Protocol, tcp: Tcp, place: Place) {
    let listener = protocol.name();
    match protocol {
        Protocol::Mqtt => connect(door, tcp, place),
        Protocol::Mqtts(tls) => {
            let tls = tls.clone();
            open(door, listener, place, async move { tls.accept(tcp).await }, connect);
        }
        Protocol::Ws(origins) => {
            open(door, listener, place, WebSocket::accept(tcp, origins.clone()), connect);
        }
        Protocol::Wss(tls, origins) => {
            let (tls, origins) = (tls.clone(), origins.clone());
            let handshake = async move { WebSocket::accept(tls.accept(tcp).await?, origins).await };
            open(door, listener, place, handshake, connect);
        }
    }
}

/// Runs a handshake, on a task of its size, and gives what comes of it to `then`.
fn open<T: Send + 'static>(
    door: &Arc<Door>,
    listener: &'static str,
    place: Place,
    handshake: impl Future<Output = Result<T, OpeningError>> + Send + 'static,
    then: impl FnOnce(&Arc<Door>, T, Place) + Send + 'static,
) {
    let door = door.clone();
    let patience = door.broker().limits().connect_timeout;
    tokio::spawn(async move {
        let waiting = door.handshakes.enter();
        let result = tokio::select! {
            result = tokio::time::timeout(patience, handshake) => result.unwrap_or(Err(OpeningError::Timeout)),
            () = waiting.lost() => Err(OpeningError::CrowdedOut),
        };
        drop(waiting);
        match result {
            Ok(opened) => then(&door, opened, place),
            Err(error) => door.handle_failure(listener, &error, Instant::now()),
        }
    });
}

fn connect<T: Transport>(door: &Arc<Door>, transport: T, place: Place) {
    tokio::spawn(Connection::new(door.broker().clone(), transport, place));
}
