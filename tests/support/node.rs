//! A broker inside the test process, on a free port. Its clock for wills and sessions is the test's to turn.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rumormq::access::{Access, AccessConfig};
use rumormq::broker::{Broker, Extras, Limits};
use rumormq::codec::packet::Connect;
use rumormq::net::{Door, Listener, Protocol, TrustedProxies};
use tokio::runtime::Runtime;

use super::client::{Client, PATIENCE, V311, connect};

pub struct Node {
    pub broker: Arc<Broker>,
    pub address: SocketAddr,
    door: Arc<Door>,
}

/// Panics in the brokers' threads. There must be none, whatever a client sends.
static PANICS: AtomicUsize = AtomicUsize::new(0);

const THREAD_NAME: &str = "broker";

pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() == Some(THREAD_NAME) {
                PANICS.fetch_add(1, Ordering::Relaxed);
            }
            report(panic);
        }));
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(THREAD_NAME)
            .enable_all()
            .build()
            .expect("threads")
    })
}

fn listen(protocol: Protocol, door: &Arc<Door>) -> SocketAddr {
    let _guard = runtime().enter();
    let any_port = "127.0.0.1:0".parse().expect("an address");
    let listener = Listener::bind(any_port, protocol).expect("a free port");
    let address = listener.address();
    runtime().spawn(listener.run(door.clone()));
    address
}

impl Node {
    pub fn start() -> Node {
        Node::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Node {
        Node::with_broker(Broker::new(limits), TrustedProxies::default())
    }

    pub fn with_extras(limits: Limits, extras: Extras) -> Node {
        Node::with_broker(Broker::with_extras(limits, extras), TrustedProxies::default())
    }

    pub fn with_access(limits: Limits, access: AccessConfig) -> Node {
        Node::with_broker(Broker::new(limits).with_access(Access::new(access)), TrustedProxies::default())
    }

    /// Clients in these networks are proxies.
    pub fn behind(proxies: &[&str], limits: Limits) -> Node {
        let networks = proxies.iter().map(|network| network.parse().expect("a network")).collect();
        Node::with_broker(Broker::new(limits), TrustedProxies::new(networks))
    }

    fn with_broker(broker: Broker, proxies: TrustedProxies) -> Node {
        let broker = Arc::new(broker);
        let door = Door::new(broker.clone(), proxies);
        Node { broker, address: listen(Protocol::Mqtt, &door), door }
    }

    /// Opens one more listener, for clients that speak `protocol`.
    pub fn listens(&self, protocol: Protocol) -> SocketAddr {
        listen(protocol, &self.door)
    }

    /// A client of 5.0 with a session that ends with its connection.
    #[track_caller]
    pub fn connect(&self, client_id: &str) -> Client {
        Client::connect(self.address, connect(client_id))
    }

    /// The same of 3.1.1.
    #[track_caller]
    pub fn connect_v311(&self, client_id: &str) -> Client {
        Client::connect(self.address, Connect { version: V311, ..connect(client_id) })
    }

    #[track_caller]
    pub fn connect_with(&self, connect: Connect<'_>) -> Client {
        Client::connect(self.address, connect)
    }

    /// Sends a CONNECT whose answer the test looks at.
    pub fn start_connect(&self, connect: Connect<'_>) -> Client {
        Client::start(self.address, connect)
    }

    /// Does what is due when that much time has passed from now on.
    pub fn after(&self, time: Duration) {
        self.broker.handle_tick(Instant::now() + time);
    }

    /// Waits for what other threads bring about.
    #[track_caller]
    pub fn awaits(&self, what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn after_secs(&self, secs: u64) {
        self.after(Duration::from_secs(secs));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(PANICS.load(Ordering::Relaxed), 0, "panics in broker threads, reported above");
        }
    }
}
