//! `portcullis catalogue`: the operator's own catalogue of models.

mod decimal;
mod file;
mod genai;
mod litellm;
mod prices;
mod refresh;
mod report;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use portcullis_core::price::{Price, day_of, parse_day};
use portcullis_core::{Clock, SystemClock};
use portcullis_gateway::config::{CatalogueEntry, Config};
use portcullis_gateway::prices_of;
use portcullis_runtime::check_component;
use time::Date;

use crate::{ConfigArgument, running};
use file::Document;
use prices::PriceFile;
use refresh::Outcome;
use report::Report;

#[derive(Subcommand)]
pub enum CatalogueAction {
    /// Update the prices of the operator's catalogue (`[catalogue] file`) from a price file, and print what changes. It looks at the
    /// models that the connections' plugins know, those in `models` lists and those in the catalogue; prices that were written by
    /// hand stay.
    Refresh {
        #[command(flatten)]
        config: ConfigArgument,
        /// The price file: genai-prices' `data.json` or LiteLLM's `model_prices_and_context_window.json`; `-` for standard input.
        #[arg(long)]
        from: PathBuf,
        /// The day from which changed prices hold, `YYYY-MM-DD`. Default: today (UTC). A price that the file dates later keeps its day.
        #[arg(long, value_parser = day)]
        effective: Option<Date>,
        /// A provider of the price file whose prices are a plugin's: `x-ai=xai`. Default: the one of the plugin's name, or that the
        /// price file is known to use for it.
        #[arg(long, value_parser = mapping)]
        map: Vec<(String, String)>,
        /// Print what would change and write nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

/// What price files call providers, where it is not the plugin's name.
const NAMES: &[(&str, &str)] = &[
    ("aws", "bedrock"),
    ("bedrock_converse", "bedrock"),
    ("cohere_chat", "cohere"),
    ("google", "gemini"),
    ("together_ai", "together"),
    ("x-ai", "xai"),
];

fn day(text: &str) -> Result<Date, String> {
    parse_day(text).map_err(|_| "not a day, as 2026-11-20".to_owned())
}

fn mapping(text: &str) -> Result<(String, String), String> {
    let (provider, plugin) = text.split_once('=').ok_or("not of the form PROVIDER=PLUGIN")?;
    Ok((provider.to_owned(), plugin.to_owned()))
}

pub fn run(action: CatalogueAction) -> Result<()> {
    let CatalogueAction::Refresh { config, from, effective, map, dry_run } = action;
    let path = config.path().context("no configuration file is there that could name a catalogue")?;
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    // Neither secrets nor the catalogue itself need to be there.
    let config = Config::parse(&text, &path.display().to_string())?;
    let file =
        config.catalogue.file.clone().with_context(|| {
            format!("{} names no catalogue: `[catalogue]`, `file = \"models.json\"`", path.display())
        })?;
    let mut document = Document::read(&file)?;
    let prices = PriceFile::parse(&read(&from)?).with_context(|| from.display().to_string())?;
    let day = effective.unwrap_or_else(|| day_of(SystemClock.now_ms()));
    let mut report = Report::default();
    for known in known(&config, &document)? {
        let mapped: Vec<&str> = mapped(&map, &known.plugin).collect();
        let names: Vec<&str> = std::iter::once(&known.id).chain(&known.aliases).map(String::as_str).collect();
        let said = match prices.find(&mapped, &names) {
            None => {
                report.missing(&known.plugin, &known.id);
                continue;
            }
            Some(Err(reason)) => {
                report.unusable(&known.plugin, &known.id, reason);
                continue;
            }
            Some(Ok(said)) => said,
        };
        let entry = known.entry(&document);
        let id = entry.map_or(&known.id, |entry| &entry.id).clone();
        match refresh::refresh(&known.own, entry, &said, day) {
            Outcome::Same => report.same(),
            Outcome::Theirs(step) => report.theirs(&known.plugin, &id, &step),
            Outcome::Changed { prices, steps } => {
                report.changed(&known.plugin, &id, &steps);
                document.set_prices(&known.plugin, &id, prices);
            }
        }
    }
    print!("{}", report.text());
    match (report.has_changes(), dry_run) {
        (false, _) => println!("{} stays as it is", document.path().display()),
        (true, true) => println!("{} was not written: a dry run", document.path().display()),
        (true, false) => {
            document.write()?;
            println!("{} was written", document.path().display());
        }
    }
    Ok(())
}

fn read(from: &Path) -> Result<String> {
    if from == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(from).with_context(|| from.display().to_string())
}

/// The price file's names for a plugin's provider: those that were given, else its own and those that are known.
fn mapped<'a>(given: &'a [(String, String)], plugin: &'a str) -> impl Iterator<Item = &'a str> {
    let explicit = given.iter().filter(move |(_, to)| to == plugin).map(|(from, _)| from.as_str());
    let usual = NAMES.iter().filter(move |(_, to)| *to == plugin).map(|(from, _)| *from);
    let is_given = given.iter().any(|(_, to)| to == plugin);
    explicit.chain(std::iter::once(plugin).chain(usual).filter(move |_| !is_given))
}

/// What price files are asked for: other operations have prices that a plugin fits to what their answers tell.
const OPERATIONS: &[&str] = &["chat", "completions", "embeddings"];

/// A model whose price is looked for.
struct Known {
    plugin: String,
    id: String,
    aliases: Vec<String>,
    /// The plugin's prices.
    own: Vec<Price>,
}

impl Known {
    fn names(&self) -> impl Iterator<Item = &String> {
        std::iter::once(&self.id).chain(&self.aliases)
    }

    /// What the catalogue says of it for every connection of its plugin.
    fn entry<'a>(&self, document: &'a Document) -> Option<&'a CatalogueEntry> {
        let of_plugin = |entry: &&CatalogueEntry| entry.plugin.as_deref() == Some(&self.plugin);
        self.names().find_map(|name| document.content.models.iter().filter(of_plugin).find(|entry| entry.id == *name))
    }
}

fn known(config: &Config, document: &Document) -> Result<Vec<Known>> {
    let runtime = running::runtime(config)?;
    let plugins: BTreeSet<&str> = config.providers.values().map(|provider| provider.plugin.as_str()).collect();
    let mut all = Vec::new();
    for plugin in plugins {
        let (mut models, mut others): (Vec<Known>, Vec<String>) = (Vec::new(), Vec::new());
        let path = config.plugins.directory.join(format!("{plugin}.wasm"));
        let settings = config.plugin.get(plugin).cloned().unwrap_or_default().settings();
        match check_component(&runtime, &path, &settings) {
            Ok(loaded) => {
                for model in &loaded.manifest.models {
                    let id = model.id.clone();
                    let aliases: Vec<String> = model.aliases.iter().chain(&model.synonyms).cloned().collect();
                    if model.operations.iter().any(|operation| OPERATIONS.contains(&operation.as_str())) {
                        models.push(Known { plugin: plugin.to_owned(), id, aliases, own: prices_of(model) });
                    } else {
                        others.extend(aliases.into_iter().chain([id]));
                    }
                }
            }
            Err(error) => {
                eprintln!("{}: {error}; only the models that are named elsewhere are looked at", path.display())
            }
        }
        let connections = config.providers.values().filter(|provider| provider.plugin == plugin);
        let listed = connections.flat_map(|provider| &provider.models).filter(|name| *name != "*");
        let written = document.content.models.iter().filter(|entry| entry.plugin.as_deref() == Some(plugin));
        for name in listed.chain(written.map(|entry| &entry.id)) {
            if !others.contains(name) && !models.iter().any(|model| model.names().any(|known| known == name)) {
                models.push(Known {
                    plugin: plugin.to_owned(),
                    id: name.clone(),
                    aliases: Vec::new(),
                    own: Vec::new(),
                });
            }
        }
        all.append(&mut models);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_has_its_own_name_the_usual_ones_or_those_that_are_given() {
        let names =
            |given: &[(String, String)], plugin: &str| mapped(given, plugin).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names(&[], "openai"), ["openai"]);
        assert_eq!(names(&[], "bedrock"), ["bedrock", "aws", "bedrock_converse"]);
        let given = [mapping("azure=openai").unwrap(), mapping("google=gemini").unwrap()];
        assert_eq!(names(&given, "openai"), ["azure"]);
        assert_eq!(names(&given, "xai"), ["xai", "x-ai"]);
        assert!(mapping("azure").is_err());
        assert!(day("2026-02-30").is_err());
    }
}
