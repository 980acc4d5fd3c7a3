//! The HTTP server, and what it lets one client cost.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::guard::{Caller, Guard};
use super::{NodeView, router};

/// A bound address that answers HTTP/1.1 requests.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
}

/// Connections served at a time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 256;
/// Time for the head of a request, and between two requests of a connection.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Longest a connection lives. It ends between two requests, and in the midst of one only after [`GRACE`].
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// Time for an answer under way when its connection is to end.
const GRACE: Duration = Duration::from_secs(10);
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Bytes of a request's head.
const MAX_HEAD: usize = 256 << 10;
/// Rest after an accept failed for want of memory or file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl HttpServer {
    /// Binds `address`; port 0 is any free one.
    pub async fn bind(address: SocketAddr) -> io::Result<HttpServer> {
        Ok(HttpServer { listener: TcpListener::bind(address).await? })
    }

    /// The address that was bound.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped; its connections go with it.
    pub async fn run(self, view: Arc<dyn NodeView>, guard: Guard) {
        let router = router(view, guard);
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = permits.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let Ok(reached) = stream.local_addr() else { continue };
                    let router = router.clone().layer(Extension(Caller { address, reached }));
                    connections.spawn(async move {
                        serve(stream, router).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection: raise the limit of open files (ulimit -n, LimitNOFILE=)");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
        }
    }
}

async fn serve(stream: TcpStream, router: axum::Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_MAX)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // How a connection ends is its client's affair.
    if timeout(CONNECTION_MAX, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GRACE, connection).await;
    }
}
