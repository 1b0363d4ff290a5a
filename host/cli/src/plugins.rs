//! `portcullis plugin`: what a plugin's author asks, and what an operator does about versions that failed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Subcommand;
use portcullis_gateway::config::CataloguePrice;
use portcullis_gateway::prices_of;
use portcullis_runtime::contract::manifest::Model;
use portcullis_runtime::{PluginSettings, Quarantine, QuarantinedVersion, Runtime, RuntimeOptions, check_component};
use serde_json::json;

use crate::{ConfigArgument, running};

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
    /// Print what provider plugins know of their models, as JSON.
    Models {
        /// `NAME.wasm` files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        config: ConfigArgument,
    },
    /// List the versions that failed in service and do not serve again.
    Quarantined {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lift a quarantine: a running gateway loads the version with its next look at the plugin folder, if it is still there.
    Release {
        /// The version's hash or the beginning of it, or the plugin's name for all of its versions.
        version: String,
        #[command(flatten)]
        config: ConfigArgument,
    },
}

pub fn run(action: PluginAction) -> Result<()> {
    match action {
        PluginAction::Check { files, config } => check(&files, &config),
        PluginAction::Models { files, config } => models(&files, &config),
        PluginAction::Quarantined { config, json } => list(&quarantine(&config)?, json),
        PluginAction::Release { version, config } => release(quarantine(&config)?, &version),
    }
}

fn check(files: &[PathBuf], config: &str) -> Result<()> {
    let runtime = Runtime::new(RuntimeOptions { development: true, ..RuntimeOptions::default() })?;
    let settings = PluginSettings { configuration: serde_json::from_str(config)?, ..PluginSettings::default() };
    let mut failed = 0;
    for file in files {
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

fn models(files: &[PathBuf], config: &ConfigArgument) -> Result<()> {
    // The configured one: it keeps what it compiled.
    let runtime = running::runtime(&config.load()?)?;
    let mut all = Vec::new();
    for file in files {
        let report =
            check_component(&runtime, file, &PluginSettings::default()).with_context(|| file.display().to_string())?;
        let models: Vec<_> = report.manifest.models.iter().map(model).collect();
        all.push(json!({ "plugin": report.name, "version": report.version, "models": models }));
    }
    println!("{}", json!(all));
    Ok(())
}

fn model(model: &Model) -> serde_json::Value {
    let quality = model.quality.as_ref().map(|quality| json!({ "score": quality.score, "source": quality.source }));
    // In the form of the operator's catalogue, so that a part of it can be copied there.
    let prices = prices_of(model).iter().map(CataloguePrice::of).collect::<Vec<_>>();
    json!({
        "id": model.id,
        "aliases": model.aliases,
        "synonyms": model.synonyms,
        "operations": model.operations,
        "context": model.context,
        "max_output": model.max_output,
        "capabilities": model.capabilities,
        "quality": quality,
        "prices": prices,
    })
}

fn quarantine(config: &ConfigArgument) -> Result<Quarantine> {
    Ok(Quarantine::of(&config.load()?.plugins.state))
}

fn all(quarantine: &Quarantine) -> Result<Vec<QuarantinedVersion>> {
    quarantine.list().context("the quarantine; `[plugins] state` says where it is")
}

fn list(quarantine: &Quarantine, json: bool) -> Result<()> {
    let versions = all(quarantine)?;
    if json {
        println!("{}", json!(versions));
        return Ok(());
    }
    println!("{:<24} {:<12} {:<12} HASH", "PLUGIN", "VERSION", "INSTEAD");
    for one in versions {
        let instead = one.instead.map_or("-".to_owned(), |instead| instead.version);
        println!("{:<24} {:<12} {instead:<12} {}", one.plugin, one.version, one.hash);
    }
    Ok(())
}

fn release(mut quarantine: Quarantine, version: &str) -> Result<()> {
    /// Fewer characters of a hash may mean another version tomorrow.
    const SHORTEST: usize = 8;
    let named =
        |one: &QuarantinedVersion| one.plugin == version || version.len() >= SHORTEST && one.hash.starts_with(version);
    let versions: Vec<_> = all(&quarantine)?.into_iter().filter(named).collect();
    ensure!(!versions.is_empty(), "no quarantined version is `{version}`; `portcullis plugin quarantined` lists them");
    for one in versions {
        quarantine.release(&one.hash)?;
        println!("released {} {} ({})", one.plugin, one.version, one.hash);
    }
    Ok(())
}
