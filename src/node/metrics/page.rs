//! Families of metrics that are made when somebody asks.

use prometheus::core::Collector;
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{CounterVec, GaugeVec, Opts};
use rumormq_gossip::Sizes;

/// What the page shows. Names are given without their prefix.
#[derive(Default)]
pub(super) struct Page(pub Vec<MetricFamily>);

impl Page {
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.gauges(name, help, &[], [(vec![], value)]);
    }

    pub fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<&'a str>, f64)>,
    ) {
        let family =
            GaugeVec::new(Opts::new(format!("rumormq_{name}"), help), labels).expect("names are literals");
        for (label_values, value) in values {
            family.with_label_values(&label_values).set(value);
        }
        self.0.extend(family.collect());
    }

    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.counters(name, help, &[], [(vec![], value)]);
    }

    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
        values: impl IntoIterator<Item = (Vec<&'a str>, u64)>,
    ) {
        let family =
            CounterVec::new(Opts::new(format!("rumormq_{name}"), help), labels).expect("names are literals");
        for (label_values, value) in values {
            family.with_label_values(&label_values).inc_by(value as f64);
        }
        self.0.extend(family.collect());
    }

    /// A histogram with one label, of sizes that were counted elsewhere.
    pub fn sizes(&mut self, name: &str, help: &str, label: &str, values: [(&str, &Sizes); 2]) {
        let metrics = values.map(|(value, sizes)| {
            let mut pair = LabelPair::default();
            pair.set_name(label.to_owned());
            pair.set_value(value.to_owned());
            let mut metric = Metric::from_label(vec![pair]);
            metric.set_histogram(histogram(sizes));
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(format!("rumormq_{name}"));
        family.set_help(help.to_owned());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(metrics.into());
        self.0.push(family);
    }
}

fn histogram(sizes: &Sizes) -> Histogram {
    let buckets = sizes.cumulative().map(|(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound as f64);
        bucket.set_cumulative_count(count);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(sizes.count());
    histogram.set_sample_sum(sizes.sum() as f64);
    histogram
}
