//! `portcullis check`: the configuration and every plugin file as `serve` would take them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use portcullis_gateway::config::Config;
use portcullis_runtime::{Quarantine, Runtime, check_component};

use crate::{ConfigArgument, running};

pub fn run(argument: &ConfigArgument) -> Result<()> {
    let path = argument.path();
    let config = argument.load()?;
    match &path {
        Some(path) => println!("{}: ok", path.display()),
        None => println!("no configuration file: the defaults serve"),
    }
    for (name, provider) in &config.providers {
        for (key, _) in provider.secrets().filter(|(_, secret)| secret.is_literal()) {
            println!("providers.{name}.{key}: warning: a secret stands in the file; prefer a reference, \"${{NAME}}\"");
        }
    }
    for entry in &config.catalogue.content.models {
        let is_used = config.providers.iter().any(|(name, provider)| {
            entry.connection.as_ref().is_none_or(|connection| connection == name)
                && entry.plugin.as_ref().is_none_or(|plugin| *plugin == provider.plugin)
        });
        if !is_used {
            println!("catalogue: {}: warning: there is no connection of that name or by that plugin", entry.id);
        }
    }
    let runtime = running::runtime(&config)?;
    let problems = check_plugins(&config, &runtime)?;
    if problems > 0 {
        bail!("{problems} {} found", if problems == 1 { "problem was" } else { "problems were" });
    }
    Ok(())
}

fn check_plugins(config: &Config, runtime: &Arc<Runtime>) -> Result<usize> {
    let directory = &config.plugins.directory;
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .with_context(|| format!("plugins.directory {}", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    files.sort();
    let mut problems = 0;
    let quarantine = Quarantine::of(&config.plugins.state);
    let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for path in &files {
        let settings = config.plugin.get(&stem(path)).cloned().unwrap_or_default().settings();
        match check_component(runtime, path, &settings) {
            Ok(report) => {
                println!("{}: ok, version {}, {} vectors", path.display(), report.version, report.vectors);
                if let Some(quarantined) = quarantine.find(&report.hash) {
                    let instead = quarantined.instead.map_or("nothing".to_owned(), |instead| instead.version);
                    println!(
                        "{}: warning: it failed in service and is quarantined, {instead} serves instead; `portcullis plugin \
                         release {}` lifts that",
                        path.display(),
                        report.name
                    );
                }
            }
            Err(error) => {
                problems += 1;
                println!("{}: {error}", path.display());
            }
        }
    }
    let missing = |name: &str| !files.iter().any(|path| stem(path) == name);
    for name in config.plugin.keys().filter(|name| missing(name)) {
        println!("plugin.{name}: warning: there is no {name}.wasm in {}", directory.display());
    }
    for (name, provider) in config.providers.iter().filter(|(_, provider)| missing(&provider.plugin)) {
        problems += 1;
        println!("providers.{name}: there is no {}.wasm in {}", provider.plugin, directory.display());
    }
    Ok(problems)
}
