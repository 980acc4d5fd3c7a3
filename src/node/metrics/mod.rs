//! The metrics' page: what was counted as it happened, and what is looked up when somebody asks.

mod broker;
mod convergence;
mod forwards;
mod members;
mod page;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Instant;

use page::Page;
use prometheus::TextEncoder;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;

use crate::broker::Broker;
use crate::cluster::Cluster;

/// All metrics in the text format of Prometheus.
pub fn render(broker: &Broker, cluster: &Cluster) -> String {
    let mut page = Page::default();
    let now = Instant::now();
    let snapshot = cluster.snapshot(now);
    page.convergence(&snapshot);
    page.members(&snapshot);
    page.forwards(cluster, now);
    page.gossip(cluster);
    page.clock_skews(cluster);
    page.gauge("trie_filters", "Filters in the topic trie.", broker.filter_count() as f64);
    page.broker(&broker.census());
    page.tracer(&broker.tracer);
    let process = prometheus::process_collector::ProcessCollector::for_self();
    page.0.extend(process.collect());
    page.0.extend(broker.metrics.registry.gather());
    page.0.extend(cluster.counters.registry.gather());
    // A family without a metric is left out: the encoder refuses it.
    let mut families: BTreeMap<String, MetricFamily> = BTreeMap::new();
    for mut family in page.0.into_iter().filter(|family| !family.get_metric().is_empty()) {
        match families.get_mut(family.name()) {
            Some(first) => first.mut_metric().extend(family.take_metric()),
            None => drop(families.insert(family.name().to_owned(), family)),
        }
    }
    let families: Vec<MetricFamily> = families.into_values().collect();
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}
