//! The operator's catalogue as text: entries that are not changed keep every byte, and the file is replaced at once or not at all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use portcullis_gateway::config::{CatalogueEntry, CatalogueFile, CataloguePrice};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A catalogue with its text.
pub struct Document {
    path: PathBuf,
    texts: Vec<String>,
    pub content: CatalogueFile,
}

#[derive(Deserialize)]
struct Texts<'a> {
    #[serde(borrow)]
    models: Vec<&'a RawValue>,
}

impl Document {
    /// Reads it; a file that is not there is an empty one.
    pub fn read(path: &Path) -> Result<Self> {
        // What a link leads to is replaced, and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => r#"{"models":[]}"#.to_owned(),
            read => read.with_context(|| path.display().to_string())?,
        };
        let content = CatalogueFile::parse(&text, &path)?;
        let texts: Texts = serde_json::from_str(&text)?;
        let texts = texts.models.into_iter().map(|text| text.get().to_owned()).collect();
        Ok(Document { path, texts, content })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives a plugin's model these prices, in its entry or a new one.
    pub fn set_prices(&mut self, plugin: &str, id: &str, prices: Vec<CataloguePrice>) {
        let is_it = |entry: &CatalogueEntry| entry.plugin.as_deref() == Some(plugin) && entry.id == id;
        let at = self.content.models.iter().position(is_it).unwrap_or_else(|| {
            let entry = CatalogueEntry { plugin: Some(plugin.into()), id: id.into(), ..CatalogueEntry::default() };
            self.content.models.push(entry);
            self.texts.push(String::new());
            self.texts.len() - 1
        });
        self.content.models[at].prices = prices;
        self.texts[at] = text(&self.content.models[at]);
    }

    fn text(&self) -> String {
        match self.texts.is_empty() {
            true => "{\n  \"models\": []\n}\n".to_owned(),
            false => format!("{{\n  \"models\": [\n    {}\n  ]\n}}\n", self.texts.join(",\n    ")),
        }
    }

    /// Replaces the file.
    pub fn write(&self) -> Result<()> {
        let name = self.path.file_name().context("the catalogue's path names no file")?.to_string_lossy();
        let aside = self.path.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let written = write_aside(&aside, &self.path, &self.text()).and_then(|()| fs::rename(&aside, &self.path));
        if written.is_err() {
            // Best effort: what counts is that the old file is whole.
            let _ = fs::remove_file(&aside);
        }
        written.with_context(|| format!("{} cannot be written; it is as it was", self.path.display()))
    }
}

fn write_aside(aside: &Path, old: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create(aside)?;
    if let Ok(metadata) = fs::metadata(old) {
        file.set_permissions(metadata.permissions())?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// An entry on a line, with a line for each of its prices.
fn text(entry: &CatalogueEntry) -> String {
    let json = |value: Result<String, serde_json::Error>| value.expect("numbers, texts and lists of them");
    let bare = CatalogueEntry { prices: Vec::new(), ..entry.clone() };
    let bare = json(serde_json::to_string(&bare));
    let prices: Vec<String> = entry.prices.iter().map(|price| json(serde_json::to_string(price))).collect();
    match (prices.is_empty(), bare.strip_suffix('}')) {
        (false, Some(head)) => format!("{head},\n      \"prices\": [\n        {}]}}", prices.join(",\n        ")),
        _ => bare,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_gateway::config::CatalogueRates;

    fn price(input: u64) -> CataloguePrice {
        CataloguePrice {
            effective: "2026-11-20".into(),
            source: "s".into(),
            refreshed: true,
            rates: CatalogueRates { input: Some(input), ..CatalogueRates::default() },
            tiers: Vec::new(),
            units: Vec::new(),
            services: Vec::new(),
        }
    }

    fn document(text: &str) -> Document {
        let texts: Texts = serde_json::from_str(text).unwrap();
        let texts = texts.models.into_iter().map(|text| text.get().to_owned()).collect();
        let path = PathBuf::from("models.json");
        Document { content: CatalogueFile::parse(text, &path).unwrap(), path, texts }
    }

    #[test]
    fn entries_that_do_not_change_keep_every_byte() {
        let odd = "{ \"plugin\" : \"p\",\n\t\"id\":\"\\u006d\" , \"quality\":{\"score\":5e1,\"source\":\"me\"} }";
        let mut document = document(&format!("{{\"models\":[{odd},{{\"plugin\":\"p\",\"id\":\"n\",\"context\":7}}]}}"));
        document.set_prices("p", "n", vec![price(1), price(2)]);
        document.set_prices("q", "m", vec![price(3)]);
        let text = document.text();
        assert!(text.contains(odd), "{text}");
        let again = CatalogueFile::parse(&text, Path::new("models.json")).unwrap();
        assert_eq!(again, document.content);
        assert_eq!((again.models.len(), again.models[1].context, again.models[1].prices.len()), (3, Some(7), 2));
        document.set_prices("p", "n", Vec::new());
        assert_eq!(CatalogueFile::parse(&document.text(), Path::new("m")).unwrap(), document.content);
    }

    #[test]
    fn an_empty_catalogue_is_one() {
        let text = document("{\"models\":[]}").text();
        assert_eq!(CatalogueFile::parse(&text, Path::new("m")).unwrap(), CatalogueFile::default());
    }
}
