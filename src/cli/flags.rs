//! The settings as flags, made from the one list of them.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Config, SETTINGS, Section, Setting};

/// The settings that were given as flags, by name. A flag given several times has its values separated by commas.
#[derive(Clone, Debug, Default)]
pub(super) struct Flags(pub(super) BTreeMap<&'static str, String>);

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let defaults = Config::default();
        command.args(SETTINGS.iter().map(|setting| arg(setting, &defaults)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let value = |setting: &Setting| {
            let values: Vec<&str> = matches.get_many::<String>(setting.name)?.map(String::as_str).collect();
            Some((setting.name, values.join(",")))
        };
        Ok(Flags(SETTINGS.iter().filter_map(value).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Flags::from_arg_matches(matches)?;
        Ok(())
    }
}

fn arg(setting: &'static Setting, defaults: &Config) -> Arg {
    let default = setting.show(defaults);
    let help = match default.is_empty() || setting.value_name.is_empty() {
        true => setting.help.to_owned(),
        false => format!("{} [default: {default}]", setting.help),
    };
    let arg = Arg::new(setting.name)
        .long(setting.name.replace('_', "-"))
        .help(help)
        .help_heading(heading(setting.section));
    match setting.value_name {
        "" => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false"),
        name if setting.is_list() => arg.action(ArgAction::Append).value_name(name),
        name => arg.action(ArgAction::Set).value_name(name),
    }
}

fn heading(section: Section) -> &'static str {
    match section {
        Section::Top => "Node",
        Section::Listen => "Listeners",
        Section::Tls => "TLS for clients",
        Section::Access => "Access",
        Section::Cluster => "Cluster",
        Section::Limits => "Limits",
        Section::Broker => "Broker",
    }
}
