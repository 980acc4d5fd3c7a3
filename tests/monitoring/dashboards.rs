//! Grafana's dashboards: written from the tables of [`panels`](crate::panels), and held to them and to the metrics.
//!
//! After a change of the tables: `RUMORMQ_WRITE=1 cargo test --test monitoring dashboards_are`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::panels::{DASHBOARDS, Dashboard, Kind, Panel};

/// Of Grafana 10; later ones read it, too.
const SCHEMA_VERSION: u32 = 39;
/// Columns of Grafana's grid.
const COLUMNS: u32 = 24;

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn file(dashboard: &Dashboard) -> PathBuf {
    folder().join("grafana/dashboards").join(format!("{}.json", dashboard.name))
}

/// What a dashboard's file contains.
fn render(dashboard: &Dashboard) -> Value {
    let datasource = json!({"type": "prometheus", "uid": "${datasource}"});
    let mut panels = Vec::new();
    let (mut x, mut y, mut row_height) = (0, 0, 0);
    for (number, panel) in dashboard.panels.iter().enumerate() {
        if x + panel.width > COLUMNS {
            (x, y, row_height) = (0, y + row_height, 0);
        }
        let place = json!({"x": x, "y": y, "w": panel.width, "h": panel.height});
        panels.push(render_panel(panel, number + 1, place, &datasource));
        x += panel.width;
        row_height = row_height.max(panel.height);
    }
    json!({
        "uid": format!("rumormq-{}", dashboard.name),
        "title": format!("RumorMQ: {}", dashboard.title),
        "description": dashboard.description,
        "tags": ["rumormq", "mqtt"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": true,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timepicker": {},
        "timezone": "",
        "weekStart": "",
        "annotations": {"list": [{
            "builtIn": 1,
            "datasource": {"type": "grafana", "uid": "-- Grafana --"},
            "enable": true,
            "hide": true,
            "iconColor": "rgba(0, 211, 255, 1)",
            "name": "Annotations & Alerts",
            "type": "dashboard",
        }]},
        "links": [{
            "type": "dashboards",
            "title": "RumorMQ",
            "tags": ["rumormq"],
            "asDropdown": false,
            "includeVars": true,
            "keepTime": true,
            "targetBlank": false,
            "icon": "external link",
            "tooltip": "",
            "url": "",
        }],
        "templating": {"list": [
            {
                "type": "datasource",
                "name": "datasource",
                "label": "Prometheus",
                "query": "prometheus",
                "regex": "",
                "hide": 0,
                "includeAll": false,
                "multi": false,
                "refresh": 1,
                "skipUrlSync": false,
                "current": {},
                "options": [],
            },
            variable("cluster", "Cluster", "label_values(rumormq_incarnation, cluster)", false, &datasource),
            variable(
                "node",
                "Node",
                "label_values(rumormq_incarnation{cluster=\"$cluster\"}, node)",
                true,
                &datasource,
            ),
        ]},
        "panels": panels,
    })
}

/// Something to choose above the panels, from labels that are there.
fn variable(name: &str, label: &str, query: &str, multi: bool, datasource: &Value) -> Value {
    let mut variable = json!({
        "type": "query",
        "name": name,
        "label": label,
        "datasource": datasource,
        "definition": query,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "regex": "",
        "hide": 0,
        "refresh": 2,
        "sort": 1,
        "skipUrlSync": false,
        "multi": multi,
        "includeAll": multi,
        "current": {},
        "options": [],
    });
    if multi {
        variable["allValue"] = json!(".*");
        variable["current"] = json!({"selected": true, "text": ["All"], "value": ["$__all"]});
    }
    variable
}

fn render_panel(panel: &Panel, id: usize, place: Value, datasource: &Value) -> Value {
    let instant = panel.kind == Kind::Stat;
    let targets = panel.queries.iter().zip('A'..).map(|(query, letter)| {
        json!({
            "refId": letter.to_string(),
            "datasource": datasource,
            "editorMode": "code",
            "expr": query.expression(),
            "legendFormat": query.legend,
            "instant": instant,
            "range": !instant,
        })
    });
    let (kind, options, custom) = match panel.kind {
        Kind::Stat => (
            "stat",
            json!({
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
                "orientation": "auto",
                "textMode": "auto",
                "colorMode": "background",
                "graphMode": "none",
                "justifyMode": "auto",
                "wideLayout": true,
            }),
            json!({}),
        ),
        Kind::Lines | Kind::Stacked => (
            "timeseries",
            json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            json!({
                "drawStyle": "line",
                "lineInterpolation": "linear",
                "lineWidth": 1,
                "fillOpacity": if panel.kind == Kind::Stacked { 30 } else { 5 },
                "gradientMode": "none",
                "showPoints": "never",
                "spanNulls": false,
                "stacking": {"group": "A", "mode": if panel.kind == Kind::Stacked { "normal" } else { "none" }},
                "axisPlacement": "auto",
                "axisLabel": "",
                "axisSoftMin": 0,
                "scaleDistribution": {"type": "linear"},
                "thresholdsStyle": {"mode": "off"},
            }),
        ),
        Kind::Heatmap { max } => (
            "heatmap",
            json!({
                "calculate": false,
                "cellGap": 1,
                "cellValues": {"unit": panel.unit},
                "color": {
                    "mode": "scheme",
                    "scheme": "RdYlGn",
                    "reverse": true,
                    "exponent": 0.5,
                    "fill": "dark-orange",
                    "scale": "exponential",
                    "steps": 64,
                    "min": 0,
                    "max": max,
                },
                "exemplars": {"color": "rgba(255,0,255,0.7)"},
                // Zero is a value, and a good one.
                "filterValues": {"le": -1},
                "legend": {"show": true},
                "rowsFrame": {"layout": "auto"},
                "showValue": "never",
                "tooltip": {"mode": "single", "showColorScale": true, "yHistogram": false},
                "yAxis": {"axisPlacement": "left", "reverse": false},
            }),
            json!({"hideFrom": {"legend": false, "tooltip": false, "viz": false}}),
        ),
        Kind::States => (
            "status-history",
            json!({
                "colWidth": 0.95,
                "rowHeight": 0.9,
                "showValue": "never",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "single", "sort": "none"},
            }),
            json!({"fillOpacity": 80, "lineWidth": 0}),
        ),
    };
    let steps = panel.thresholds.iter().map(|(from, color)| json!({"value": from, "color": color}));
    let mappings = match panel.values {
        [] => json!([]),
        values => {
            let named = values
                .iter()
                .map(|(value, text, color)| (value.to_string(), json!({"text": text, "color": color})));
            json!([{"type": "value", "options": named.collect::<serde_json::Map<_, _>>()}])
        }
    };
    let color = if panel.thresholds.len() > 1 { "thresholds" } else { "palette-classic" };
    json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": format!("{}\n\nHealthy: {}", panel.shows, panel.healthy),
        "datasource": datasource,
        "gridPos": place,
        "targets": targets.collect::<Vec<_>>(),
        "options": options,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "color": {"mode": color},
                "custom": custom,
                "mappings": mappings,
                "thresholds": {"mode": "absolute", "steps": steps.collect::<Vec<_>>()},
            },
            "overrides": [],
        },
        "transparent": false,
    })
}

#[test]
fn dashboards_are_what_their_tables_say() {
    for dashboard in DASHBOARDS {
        let (file, wanted) = (file(dashboard), render(dashboard));
        let text = format!("{wanted:#}\n");
        if std::env::var("RUMORMQ_WRITE").is_ok_and(|value| value == "1") {
            fs::write(&file, &text).expect("a writable folder");
        }
        let found = fs::read_to_string(&file).unwrap_or_default();
        assert!(found == text, "{} is not what its table says: see the head of this test", file.display());
    }
}

/// Grafana cannot be asked here: what it needs of a file is looked for.
#[test]
fn dashboards_are_what_grafana_reads() {
    for dashboard in DASHBOARDS {
        let text = fs::read_to_string(file(dashboard)).expect("a dashboard");
        let page: Value = serde_json::from_str(&text).expect("JSON");
        assert!(page["uid"].as_str().is_some_and(|uid| uid.len() <= 40), "Grafana takes no longer one");
        assert_eq!(page.get("id"), None, "an id is given by Grafana");
        let panels = page["panels"].as_array().expect("panels");
        let mut taken: Vec<[u64; 4]> = Vec::new();
        for (number, panel) in panels.iter().enumerate() {
            let title = panel["title"].as_str().expect("a title");
            assert_eq!(panel["id"], number + 1, "{title}");
            let [x, y, w, h] =
                ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a place"));
            assert!(w > 0 && h > 0 && x + w <= u64::from(COLUMNS), "{title} is on the grid");
            let overlaps = |other: &&[u64; 4]| {
                let [ox, oy, ow, oh] = **other;
                x < ox + ow && ox < x + w && y < oy + oh && oy < y + h
            };
            assert_eq!(taken.iter().find(overlaps), None, "{title} covers another panel");
            taken.push([x, y, w, h]);
            assert!(
                panel["description"].as_str().is_some_and(|text| text.contains("\n\nHealthy: ")),
                "{title}"
            );
            let targets = panel["targets"].as_array().expect("targets");
            assert!(!targets.is_empty(), "{title} shows something");
            for (target, letter) in targets.iter().zip('A'..) {
                assert_eq!(target["refId"], letter.to_string(), "{title}");
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}: the reader chooses it");
            }
        }
        let titles: Vec<_> = panels.iter().map(|panel| &panel["title"]).collect();
        for title in &titles {
            assert_eq!(titles.iter().filter(|other| other == &title).count(), 1, "{title} is there once");
        }
    }
}
