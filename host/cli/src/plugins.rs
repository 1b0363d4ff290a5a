//! `portcullis plugin`: what a plugin author asks.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Subcommand;
use portcullis_runtime::{PluginSettings, Runtime, RuntimeOptions, check_component};

#[derive(Subcommand)]
pub enum PluginAction {
    /// Check components as the gateway would when it loads them: contract, imports, description, configuration, golden vectors.
    Check {
        /// `NAME.wasm` files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Configuration for the plugin, as JSON.
        #[arg(long, default_value = "{}")]
        config: String,
    },
}

pub fn run(action: PluginAction) -> Result<()> {
    let PluginAction::Check { files, config } = action;
    let runtime = Runtime::new(RuntimeOptions { development: true, ..RuntimeOptions::default() })?;
    let settings = PluginSettings { configuration: serde_json::from_str(&config)?, ..PluginSettings::default() };
    let mut failed = 0;
    for file in &files {
        match check_component(&runtime, file, &settings) {
            Ok(report) => println!(
                "{}: ok: {} {} ({:?}), {} bytes, {} vectors, {}",
                file.display(),
                report.name,
                report.version,
                report.roles,
                report.bytes,
                report.vectors,
                report.hash
            ),
            Err(error) => {
                failed += 1;
                println!("{}: {error}", file.display());
            }
        }
    }
    if failed > 0 {
        bail!("{failed} of {} files would not load", files.len());
    }
    Ok(())
}
