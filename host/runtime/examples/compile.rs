//! The compiler's process by itself, as the gateway's hidden subcommand runs it; the tests use it.

fn main() -> std::process::ExitCode {
    portcullis_runtime::compile_standard_input()
}
