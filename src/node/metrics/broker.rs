//! What clients have here.

use super::page::Page;
use crate::broker::Census;
use crate::observation::trace::Tracer;

impl Page {
    pub fn broker(&mut self, census: &Census) {
        self.gauges(
            "sessions",
            "Sessions, by whether a connection is open.",
            &["state"],
            [
                (vec!["connected"], census.connected as f64),
                (vec!["disconnected"], census.disconnected as f64),
            ],
        );
        for (name, help, value) in [
            ("subscriptions", "Subscriptions of all sessions.", census.subscriptions),
            ("inflight", "Messages sent to clients and not acknowledged.", census.inflight),
            ("queued_messages", "Messages that wait for their client.", census.queued),
            ("retained_messages", "Retained messages.", census.retained_messages),
            ("retained_bytes", "Bytes of retained messages.", census.retained_bytes),
            ("shared_groups", "Groups of shared subscriptions that have members.", census.shared_groups),
            ("delayed_messages", "Publishes that wait for their delay to pass.", census.delayed),
        ] {
            self.gauge(name, help, value as f64);
        }
    }

    pub fn tracer(&mut self, tracer: &Tracer) {
        self.gauge("traces", "Traces of clients and topics that are going on.", tracer.len() as f64);
        let help = "Events left out of traces because they came faster than they were read.";
        self.counter("trace_events_lost_total", help, tracer.lost());
    }
}
