//! The configuration file that says nothing: every setting as a comment, with its default and what it means.
//!
//! The words are those of the fields' documentation, taken from the source itself, so that there is one place to write them.

use std::fmt::Write;

use super::list::LISTS;
use super::{Config, SETTINGS, Section, Setting};

/// Where the fields are declared that settings fill.
const SOURCES: [&str; 5] = [
    include_str!("mod.rs"),
    include_str!("../broker/limits.rs"),
    include_str!("../broker/extras.rs"),
    include_str!("../broker/capabilities.rs"),
    include_str!("../session/limits.rs"),
];

const HEAD: [&str; 3] = [
    "The settings of a RumorMQ node, each with its default.",
    "Lines that begin with a # and a space are words. To set something, remove the # from a line where none follows it, and say \
     what you want; an empty text is as if nothing were said. Each setting is also a flag (--max-packet-size) and an environment \
     variable (RUMORMQ_MAX_PACKET_SIZE): a flag beats the environment, which beats this file. `rumormq check --config FILE` says \
     what all of it comes to.",
    "Sizes are written as 65536, \"64KiB\" or \"1MiB\", durations as \"500ms\", \"10s\", \"5m\", \"2h\" or \"7d\".",
];

const WIDTH: usize = 120;

/// The text of the file.
pub fn default_file() -> String {
    let mut file = String::new();
    HEAD.iter().for_each(|paragraph| comment(&mut file, paragraph));
    let mut section = Section::Top;
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            file += &format!("\n[{}]\n", section.name());
        }
        file += "\n";
        words(setting).iter().for_each(|paragraph| comment(&mut file, paragraph));
        // Writing to a text does not fail.
        let _ = writeln!(file, "#{} = {}", setting.name, value(setting));
    }
    file += "\n";
    comment(
        &mut file,
        "Below all sections there may be lists of tables, none of which is there by default; the README explains them.",
    );
    for list in LISTS {
        comment(&mut file, &format!("[[{}]] with the keys {}.", list.name, (list.keys)().join(", ")));
    }
    file
}

/// What the setting does, then what it may be and what it costs.
fn words(setting: &Setting) -> Vec<String> {
    let mut more = documentation(setting.name);
    if let Some((least, greatest)) = setting.range() {
        more += &format!(" From {least} to {greatest}.");
    }
    match more.starts_with(setting.help) {
        true => vec![more],
        false => vec![format!("{}.", setting.help), more],
    }
}

/// The comment of the field that the setting fills, as a reader of the file would have it.
pub(super) fn documentation(setting: &str) -> String {
    let field = match setting {
        // What is in the file, not the file, is the field.
        "cookie_file" => "cookies",
        "http_token_file" => "http_token",
        "http_read_token_file" => "http_read_token",
        name => name,
    };
    let declaration = format!("    pub {field}: ");
    let lines = SOURCES.iter().find_map(|source| {
        let (before, _) = source.split_once(&declaration)?;
        let above: Vec<&str> =
            before.lines().rev().map_while(|line| line.trim().strip_prefix("///")).collect();
        Some(above.into_iter().rev().map(str::trim).collect::<Vec<_>>().join(" "))
    });
    lines.unwrap_or_default().replace("[`", "`").replace("`]", "`").replace("None: ", "Not set: ")
}

/// The default, in TOML.
fn value(setting: &Setting) -> String {
    let text = setting.show(&Config::default());
    let is_bare = text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok();
    match () {
        () if setting.is_list() && text.is_empty() => "[]".to_owned(),
        () if is_bare => text,
        () => format!("{text:?}"),
    }
}

/// Adds a comment, in lines that are not too long.
fn comment(file: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            *file += &line;
            *file += "\n";
            line = "#".to_owned();
        }
        line += " ";
        line += word;
    }
    *file += &line;
    *file += "\n";
}
