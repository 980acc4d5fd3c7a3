//! A real Prometheus, with the configuration of this repository, that asks a node for all others.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::dashboards::folder;
use crate::processes::netns::Namespace;
use crate::processes::{self, http::Http};

const PORT: u16 = 9090;

/// How long anything may take to show in Prometheus.
const SHOWN: Duration = Duration::from_secs(30);

/// An expression, and what all of its values have to be.
pub type Condition = (&'static str, fn(f64) -> bool);

/// Ends, and takes its data along, when it is dropped.
pub struct Prometheus {
    process: Child,
    http: Http,
    folder: PathBuf,
}

/// A series of a query's result: its labels and its value, and when, in seconds.
#[derive(Clone, Debug)]
pub struct Series {
    pub labels: BTreeMap<String, String>,
    pub values: Vec<(f64, f64)>,
}

impl Series {
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The last value.
    pub fn value(&self) -> f64 {
        self.values.last().expect("a value").1
    }
}

impl Prometheus {
    /// Starts it on `host`; of the cluster it knows `node` alone. It scrapes every second.
    pub fn start(host: &Arc<Namespace>, node: SocketAddr) -> Prometheus {
        let name = format!("prometheus-{}", std::process::id());
        let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&own);
        fs::create_dir_all(&own).expect("a writable target directory");
        let source = folder().join("prometheus");
        let settings = fs::read_to_string(source.join("prometheus.yml")).expect("a configuration");
        // The same, but for what depends on the place, and for the patience of a test.
        let settings = settings
            .replace(": 5s", ": 1s")
            .replace("refresh_interval: 15s", "refresh_interval: 1s")
            .replace("node1:18083", &node.to_string())
            .replace(
                "      - url: http://node2:18083/api/v1/prometheus/targets\n        refresh_interval: 1s\n",
                "",
            );
        assert!(settings.contains(&node.to_string()) && !settings.contains("//node"), "{settings}");
        fs::write(own.join("prometheus.yml"), settings).expect("it can be written");
        fs::copy(source.join("rumormq.rules.yml"), own.join("rumormq.rules.yml")).expect("rules");
        let address = SocketAddr::new(host.address(), PORT);
        let process = host
            .command("prometheus")
            .arg(format!("--config.file={}", own.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", own.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(own.join("log")).expect("it can be written"))
            .spawn()
            .expect("it starts");
        Prometheus { process, http: Http::new(address, Some(host.clone())), folder: own }
    }

    /// The result of a query at a moment, if it answers.
    pub fn try_query(&self, expression: &str, at: f64) -> Option<Vec<Series>> {
        let path = format!("/api/v1/query?time={at:.3}&query={}", encode(expression));
        let answer = self.get(&path)?;
        let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        Some(result.iter().map(|series| read(series, std::slice::from_ref(&series["value"]))).collect())
    }

    #[track_caller]
    pub fn query(&self, expression: &str, at: f64) -> Vec<Series> {
        self.try_query(expression, at).unwrap_or_else(|| panic!("no answer to {expression}:\n{}", self.log()))
    }

    /// Waits for a moment at which all of these hold; gives that moment.
    #[track_caller]
    pub fn awaits(&self, what: &str, conditions: &[Condition]) -> f64 {
        let mut moment = 0.0;
        processes::awaits(what, SHOWN, || {
            // What is scraped at this very moment is not there yet, and would change what was seen.
            moment = now() - 1.0;
            conditions.iter().all(|(expression, fits)| {
                let found = self.try_query(expression, moment).unwrap_or_default();
                !found.is_empty() && found.iter().all(|series| fits(series.value()))
            })
        });
        moment
    }

    /// The values of a second each.
    pub fn range(&self, expression: &str, from: f64, to: f64) -> Vec<Series> {
        let path =
            format!("/api/v1/query_range?start={from:.3}&end={to:.3}&step=1&query={}", encode(expression));
        let answer = self.get(&path).unwrap_or_else(|| panic!("no answer to {expression}:\n{}", self.log()));
        let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        result
            .iter()
            .map(|series| read(series, series["values"].as_array().map_or(&[], Vec::as_slice)))
            .collect()
    }

    /// The alerts as Prometheus has read them.
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.get("/api/v1/rules").expect("rules");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    fn get(&self, path: &str) -> Option<Value> {
        serde_json::from_str(&self.http.try_get(path)?).ok()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("---- what Prometheus logged\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Seconds since 1970, as Prometheus counts.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64()
}

fn read(series: &Value, values: &[Value]) -> Series {
    let labels = series["metric"].as_object().into_iter().flatten();
    let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
    let values = values.iter().map(|pair| {
        let value = pair[1].as_str().and_then(|text| text.parse().ok());
        (pair[0].as_f64().expect("a time"), value.expect("a number"))
    });
    Series { labels: labels.collect(), values: values.collect() }
}

fn encode(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
