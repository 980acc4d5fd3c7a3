//! After quiet, all nodes hold the same.

use crate::processes::Process;

/// Waits until all nodes show the same routes, sessions and retained messages, by hash and by contents.
///
/// # Panics
/// If they do not within [`crate::processes::PATIENCE`], or one has counted a divergence.
#[track_caller]
pub fn assert_equal(nodes: &[&Process]) {
    crate::processes::await_converged(nodes);
    for node in nodes {
        assert_eq!(node.routes(), nodes[0].routes(), "{}", node.name());
        assert_eq!(node.metric("divergence_detected_total", &[]), 0.0, "{}", node.name());
    }
}
