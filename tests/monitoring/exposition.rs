//! The text format of Prometheus.

use std::collections::BTreeMap;

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Exposition {
    /// Types by name of family.
    pub types: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Exposition {
    /// Reads what a node says. Label values with quotes in them are not expected here.
    pub fn parse(text: &str) -> Exposition {
        let mut page = Exposition::default();
        for line in text.lines() {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                let (name, kind) = family.split_once(' ').expect("a type");
                let former = page.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(former, None, "{name} has one type");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let labels = labels.trim_end_matches('}').split("\",").filter(|pair| !pair.is_empty());
                let labels = labels.map(|pair| {
                    let (name, value) = pair.split_once("=\"").expect("a label");
                    (name.to_owned(), value.trim_end_matches('"').to_owned())
                });
                let sample = Sample {
                    name: name.to_owned(),
                    labels: labels.collect(),
                    value: value.parse().expect("a number"),
                };
                let twice = page
                    .samples
                    .iter()
                    .find(|other| other.name == sample.name && other.labels == sample.labels);
                assert_eq!(twice, None, "each series is there once");
                page.samples.push(sample);
            }
        }
        page
    }

    /// The samples of this name.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The one sample of this name with these labels, as in `direction="in",type="publish"`.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_it = |sample: &&Sample| {
            labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|given| given == value))
        };
        let found: Vec<_> = self.of(name).filter(is_it).collect();
        assert_eq!(found.len(), 1, "one {name} {labels:?}: {found:?}");
        found[0].value
    }
}
