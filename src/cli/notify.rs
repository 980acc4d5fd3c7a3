//! Tells the service manager how the node is, as `sd_notify(3)` describes: a datagram of text to the socket that the
//! environment names. Without one nothing happens.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// The way to the service manager.
pub(super) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    signs_of_life: Option<Interval>,
}

impl ServiceManager {
    /// The one that has started this process, if one has and wants to hear of it.
    pub(super) fn of_this_process() -> ServiceManager {
        let named = std::env::var("NOTIFY_SOCKET").ok();
        let socket = named.and_then(|name| open(&name).inspect_err(complain).ok());
        let micros = std::env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok());
        let mine = std::env::var("WATCHDOG_PID").ok().is_none_or(|pid| pid == std::process::id().to_string());
        let signs_of_life =
            micros.filter(|micros| *micros > 1 && mine && socket.is_some()).map(|micros: u64| {
                let mut ticks = interval(Duration::from_micros(micros / 2));
                ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                ticks
            });
        ServiceManager { socket, signs_of_life }
    }

    /// Clients may connect.
    pub(super) fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is read again, until [`ServiceManager::ready`]. The time tells the manager whether that answers the
    /// signal it has sent (`Type=notify-reload`).
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The node stops, or leaves.
    pub(super) fn stopping(&self, status: &str) {
        self.say(&format!("STOPPING=1\nSTATUS={status}"));
    }

    /// Says that the node lives, whenever that is due; never returns. It is to be polled by the task that serves, for its life is
    /// the node's.
    pub(super) async fn keep_alive(&mut self) {
        while let Some(ticks) = &mut self.signs_of_life {
            ticks.tick().await;
            self.say("WATCHDOG=1");
        }
        std::future::pending().await
    }

    fn say(&self, text: &str) {
        if let Some((socket, manager)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), manager)
        {
            complain(&error);
        }
    }
}

/// A name that begins with `@` is one of the abstract namespace.
fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A manager that does not listen must not hold up the node.
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

fn complain(error: &io::Error) {
    tracing::warn!(%error, "cannot tell the service manager how the node is: check NotifyAccess= of its unit");
}
