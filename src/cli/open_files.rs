//! How many files, and so connections, the system lets the process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::broker::Limits;

/// What a node has open beside its clients: listeners, links, HTTP, files.
const OTHERS: u64 = 600;
/// Enough for whoever has not said how many clients there are to be.
const PLENTY: u64 = 60_000;

/// Raises the limit as far as the process may, and warns if fewer clients than are let in fit below it.
pub(super) fn raise(max_connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let granted = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // None is no limit.
    let Some(files) = granted else { return };
    let needed = match max_connections == Limits::default().max_connections {
        true => PLENTY,
        false => u64::try_from(max_connections).unwrap_or(u64::MAX).saturating_add(OTHERS),
    };
    if files < needed {
        tracing::warn!(
            files,
            max_connections,
            "the system lets this process open too few files for so many clients: raise the limit (ulimit -Hn, LimitNOFILE= of systemd), \
             or lower max_connections to {}",
            files.saturating_sub(OTHERS)
        );
    }
}
