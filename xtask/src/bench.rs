//! `cargo xtask bench`: builds what is measured, as it is shipped, and measures it.

use anyhow::Result;

use crate::{command, plugins, release};

/// Of this program; everything else is for the benchmark.
const PLAIN: &str = "--plain";

pub fn run(arguments: &[String]) -> Result<()> {
    let root = plugins::root();
    let target = plugins::target_directory(&root);
    let plain = arguments.iter().any(|argument| argument == PLAIN);
    let only_the_proxy = arguments.iter().any(|argument| argument == "--against-itself");
    let mut bench = std::process::Command::new(target.join("release/portcullis-bench"));
    bench.current_dir(&root);
    if plain && !only_the_proxy {
        plugins::build(&[])?;
        bench.arg("--gateway").arg(release::plain_build(&root, &target)?).arg("--plugins").arg(target.join("plugins"));
        bench.args(["--build", "plain release build"]);
    } else if !only_the_proxy {
        let shipped = release::build(false, false)?;
        let kind = if shipped.guided { "profile-guided release build" } else { "plain release build" };
        bench.arg("--gateway").arg(shipped.program).arg("--plugins").arg(shipped.plugins);
        bench.arg("--build").arg(format!("{kind}, as shipped"));
    }
    let mut build = command::cargo(&root);
    command::step("building the benchmark", build.args(["build", "--release", "-p", "portcullis-bench"]))?;
    command::run(bench.args(arguments.iter().filter(|argument| *argument != PLAIN)))
}
