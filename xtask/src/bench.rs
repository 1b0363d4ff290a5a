//! `cargo xtask bench`: builds what is measured, optimised, and measures it.

use anyhow::Result;

use crate::command;
use crate::plugins;

pub fn run(arguments: &[String]) -> Result<()> {
    let root = plugins::root();
    let target = plugins::target_directory(&root);
    let only_the_proxy = arguments.iter().any(|argument| argument == "--against-itself");
    let mut build = command::cargo(&root);
    build.args(["build", "--release", "-p", "portcullis-bench"]);
    if !only_the_proxy {
        plugins::build(&[])?;
        build.args(["-p", "portcullis"]);
    }
    command::step("building what is measured", &mut build)?;
    let release = target.join("release");
    let mut bench = std::process::Command::new(release.join("portcullis-bench"));
    bench.current_dir(&root).arg("--gateway").arg(release.join("portcullis"));
    bench.arg("--plugins").arg(target.join("plugins")).args(arguments);
    command::run(&mut bench)
}
