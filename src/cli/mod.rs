//! The `rumormq` command: runs nodes and asks them questions over HTTP.
//!
//! Exit codes are 0 for a clean end, 2 for bad usage or configuration, 1 for everything else. Results go to stdout, all
//! else to stderr. It is a program that embeds a node, and uses nothing that another could not.

mod ask;
mod bench;
mod check;
mod client;
mod completions;
mod cookie;
mod dev;
mod failure;
mod flags;
mod given;
mod kick;
mod leave;
mod lists;
mod logging;
mod notify;
mod open_files;
mod passwd;
mod run;
mod slow;
mod table;
mod top;
mod topics;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Starts the command with the arguments and the environment of the process.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Run(run) => run.execute(),
        Command::Check(check) => check.execute(),
        Command::Dev(dev) => dev.execute(),
        Command::Status(status) => status.execute(),
        Command::Nodes(nodes) => nodes.execute(),
        Command::Top(top) => top.execute(),
        Command::Routes(routes) => routes.execute(),
        Command::Match(matches) => matches.execute(),
        Command::Clients(clients) => clients.execute(),
        Command::Subscriptions(subscriptions) => subscriptions.execute(),
        Command::Slow(slow) => slow.execute(),
        Command::Topics(topics) => topics.execute(),
        Command::Kick(kick) => kick.execute(),
        Command::Trace(trace) => trace.execute(),
        Command::Leave(leave) => leave.execute(),
        Command::Cookie(cookie) => cookie.execute(),
        Command::Passwd(passwd) => passwd.execute(),
        Command::Completions(completions) => completions.execute(),
        Command::Bench(bench) => bench.execute(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            for line in failure.to_string().lines() {
                eprintln!("rumormq: {line}");
            }
            failure.exit_code()
        }
    }
}

/// A masterless MQTT broker cluster.
#[derive(Debug, Parser)]
#[command(name = "rumormq", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    #[command(after_help = run::AFTER_HELP)]
    Run(run::Run),
    /// Check a configuration, and print what it resolves to: each setting, its value, and where that comes from
    Check(check::Check),
    /// Run a cluster of nodes on this machine, to try things out
    Dev(dev::Dev),
    /// Show how a node and its cluster are
    Status(ask::Status),
    /// List the members of the cluster
    Nodes(ask::Nodes),
    /// Watch the cluster on the terminal
    Top(top::Top),
    /// List the topic filters of the cluster, each with the nodes that want it
    Routes(lists::Routes),
    /// Show which filters match a topic, and who would get a publish to it
    Match(lists::Match),
    /// List the clients with a session
    Clients(lists::Clients),
    /// List the clients' subscriptions
    Subscriptions(lists::Subscriptions),
    /// List the clients that take long for what is published for them
    Slow(slow::Slow),
    /// Count which topics are published to most
    Topics(topics::Topics),
    /// Disconnect a client and end its session
    Kick(kick::Kick),
    /// Show what happens to a client, or to publishes to a topic, while it happens
    Trace(trace::Trace),
    /// Have a node leave its cluster for good, and end
    Leave(leave::Leave),
    /// Make a cookie, the secret that the nodes of a cluster share
    Cookie(cookie::Cookie),
    /// Write a user and its password into a password file, or remove one
    Passwd(passwd::Passwd),
    /// Print what a shell needs to complete this command's words
    Completions(completions::Completions),
    /// Put load on a broker, and measure what comes of it
    #[command(after_help = bench::AFTER_HELP)]
    Bench(Box<bench::Bench>),
}
