//! The `rumormq` command.

fn main() -> std::process::ExitCode {
    rumormq::cli::main()
}
