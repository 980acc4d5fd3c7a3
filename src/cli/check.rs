//! `rumormq check`: what a configuration resolves to, or what is wrong with it.

use clap::Args;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use super::ask::print;
use super::failure::Failure;
use super::given::Given;
use super::logging;
use super::table::Table;
use crate::config::{LogFormat, Origin, Resolution, SETTINGS, Setting, Sources, default_file};
use crate::node::unusable_files;

/// Arguments of `rumormq check`: those of `rumormq run`, which it stands for.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Print the result in JSON
    #[arg(long)]
    json: bool,
    /// Print a configuration file that has every setting as a comment, with its default and what it means
    #[arg(long)]
    print_default: bool,
    #[command(flatten)]
    given: Given,
}

/// What is printed in JSON.
#[derive(Serialize)]
struct Report {
    /// Whether a node would start with it, as far as that can be known.
    valid: bool,
    settings: Vec<Row>,
    errors: Vec<String>,
}

/// One setting.
#[derive(Serialize)]
struct Row {
    setting: String,
    /// None: it has none. A secret is the file that it is in.
    value: Option<String>,
    from: String,
}

impl Check {
    pub(super) fn execute(self) -> Result<(), Failure> {
        if self.print_default {
            return print(&default_file());
        }
        logging::init(&LevelFilter::WARN.into(), LogFormat::Text);
        self.given.warn_of_misspelled();
        let resolution = self.given.explain();
        let mut errors: Vec<String> = resolution.errors.iter().map(ToString::to_string).collect();
        if errors.is_empty() {
            errors.extend(unusable_files(&resolution.config).iter().map(ToString::to_string));
        }
        let report = Report { valid: errors.is_empty(), settings: rows(&resolution), errors };
        if self.json {
            // Made of texts alone, it can be written.
            print(&serde_json::to_string(&report).unwrap_or_default())?;
        } else if report.valid {
            let mut table = Table::new(&["SETTING", "VALUE", "FROM"]);
            for row in report.settings {
                table.push(vec![row.setting, row.value.unwrap_or_else(|| "-".to_owned()), row.from]);
            }
            print(&table.to_string())?;
        }
        if report.valid { Ok(()) } else { Err(Failure::Usage(report.errors.join("\n"))) }
    }
}

fn rows(resolution: &Resolution) -> Vec<Row> {
    let of_setting = |setting: &Setting| Row {
        setting: setting.key(),
        value: value(resolution, setting),
        from: name(&resolution.origin(setting)),
    };
    let mut rows: Vec<Row> = SETTINGS.iter().map(of_setting).collect();
    if std::env::var_os(Sources::COOKIE_VARIABLE).is_some() {
        rows.push(Row {
            setting: "cookie".to_owned(),
            value: Some(format!("{} of them, not shown", resolution.config.cookies.len())),
            from: format!("environment {}", Sources::COOKIE_VARIABLE),
        });
    }
    rows.extend(resolution.lists.iter().map(|(name, place)| Row {
        setting: format!("[[{name}]]"),
        value: Some("as the file says".to_owned()),
        from: place.to_string(),
    }));
    rows
}

fn value(resolution: &Resolution, setting: &Setting) -> Option<String> {
    let shown = match (setting.name, resolution.given.get(setting.name)) {
        ("node", _) => resolution.config.node_name().map(|name| name.to_string()).unwrap_or_default(),
        // What a file contains has no text of its own.
        (_, Some((_, text))) if setting.show(&resolution.config).is_empty() => text.clone(),
        _ => setting.show(&resolution.config),
    };
    (!shown.is_empty()).then_some(shown)
}

fn name(origin: &Origin) -> String {
    match origin {
        Origin::Flag(name) => format!("flag {name}"),
        Origin::Environment(name) => format!("environment {name}"),
        Origin::File { place, .. } => place.to_string(),
        Origin::Default { .. } => "default".to_owned(),
        Origin::Field(name) => format!("field {name}"),
    }
}
