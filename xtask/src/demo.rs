//! `cargo xtask demo`: from a fresh clone to a gateway that answers.

use anyhow::Result;

use crate::command;
use crate::plugins;

/// Builds plugins and host, then becomes `portcullis demo`.
pub fn run(arguments: &[String]) -> Result<()> {
    let root = plugins::root();
    plugins::build(&[])?;
    let mut build = command::cargo(&root);
    build.args(["build", "-p", "portcullis"]);
    command::step("building the gateway (minutes the first time, seconds after)", &mut build)?;
    let target = plugins::target_directory(&root);
    let mut demo = std::process::Command::new(target.join("debug/portcullis"));
    demo.current_dir(&root).arg("demo");
    if !arguments.iter().any(|argument| argument.starts_with("--plugins")) {
        demo.arg("--plugins").arg(target.join("plugins"));
    }
    demo.args(arguments);
    become_it(demo)
}

/// On Unix this process is replaced, so that signals and the terminal belong to the gateway alone.
#[cfg(unix)]
fn become_it(mut command: std::process::Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(anyhow::Error::from(error).context("cannot start target/debug/portcullis"))
}

#[cfg(not(unix))]
fn become_it(mut command: std::process::Command) -> Result<()> {
    command::run(&mut command)
}
