//! The `rumormq` command.

fn main() {}
