//! Every protocol that clients speak against every format that providers do: whole answers to 2 KB, at saturation, with policy,
//! guard and router, and warm instances. One gateway has a connection for each format.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

use crate::canned;
use crate::dialects::Dialect;
use crate::gateway::{POLICY, section};
use crate::report::Row;
use crate::run::Runner;
use crate::scenario::Instances;
use crate::target::Target;
use crate::wire::Client;

/// Bytes of a request's body.
const SIZE: usize = 2_000;
const CONNECTIONS: usize = 16;

/// A provider's format, as one connection of the gateway has it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Provider {
    /// In the table.
    pub name: &'static str,
    /// The client protocol that passes through.
    same: Option<Dialect>,
    connection: &'static str,
    plugin: &'static str,
    /// After the address.
    base: &'static str,
    auth: &'static str,
    model: &'static str,
}

/// Bedrock is asked with a Bedrock API key: a signature would be the same sum on top for every client.
pub const PROVIDERS: [Provider; 7] = [
    Provider {
        name: "OpenAI Chat",
        same: Some(Dialect::Chat),
        connection: "chat",
        // Its format is OpenAI's own, and it has no other endpoint for a client of Responses.
        plugin: "xai",
        base: "/v1",
        auth: "bearer",
        model: "demo-bench",
    },
    Provider {
        name: "OpenAI Responses",
        same: Some(Dialect::Responses),
        connection: "responses",
        plugin: "openai",
        base: "/v1",
        auth: "bearer",
        // The catalogue says that it has no other endpoint.
        model: "o3-pro",
    },
    Provider {
        name: "Anthropic",
        same: Some(Dialect::Messages),
        connection: "anthropic",
        plugin: "anthropic",
        base: "",
        auth: "header:x-api-key",
        model: "demo-bench",
    },
    Provider {
        name: "Gemini",
        same: Some(Dialect::Gemini),
        connection: "gemini",
        plugin: "gemini",
        base: "/v1beta",
        auth: "header:x-goog-api-key",
        model: "demo-bench",
    },
    Provider {
        name: "Bedrock Converse",
        same: None,
        connection: "bedrock",
        plugin: "bedrock",
        base: "",
        auth: "bearer",
        model: "demo-bench",
    },
    Provider {
        name: "Cohere",
        same: None,
        connection: "cohere",
        plugin: "cohere",
        base: "",
        auth: "bearer",
        model: "demo-bench",
    },
    Provider {
        name: "Ollama",
        same: None,
        connection: "ollama",
        plugin: "ollama",
        base: "",
        auth: "bearer",
        model: "demo-bench",
    },
];

/// A pair and its numbers.
#[derive(Clone, Debug)]
pub struct Measured {
    pub dialect: Dialect,
    pub provider: Provider,
    pub row: Row,
}

/// Measures every pair whose name the plan asks for; `done` hears of each as it is ready.
///
/// # Errors
/// A process does not start, or a request fails.
pub fn run(runner: &Runner, mut done: impl FnMut(&Row)) -> Result<Vec<Measured>> {
    let upstream = canned::start(&runner.upstream)?;
    let bare = Target::bare(&runner.cores, upstream)?;
    let probe = Dialect::Chat.body(&PROVIDERS[0].asked(), SIZE);
    let (gateway, _) = runner.installation.launch("pairs", &sections(upstream), &probe, &[runner.cores.measured])?;
    let mut all = Vec::new();
    for dialect in Dialect::ALL {
        for provider in PROVIDERS {
            let name = format!("{} to {}", dialect.name(), provider.name);
            if runner.plan.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
                continue;
            }
            let requests = [
                dialect.request(&provider.asked(), gateway.key.as_deref(), SIZE),
                dialect.request(&provider.asked(), None, SIZE),
            ];
            answers(gateway.address, &requests[0]).with_context(|| name.clone())?;
            let pair = runner.rounds(&gateway, &bare, requests, 1.0, CONNECTIONS).with_context(|| name.clone())?;
            let row = pair.row(format!("{name}: CPU µs"), None)?;
            done(&row);
            all.push(Measured { dialect, provider, row });
        }
    }
    Ok(all)
}

/// What is measured is an answer with the provider's words in it.
fn answers(address: SocketAddr, request: &[u8]) -> Result<()> {
    let answer = Client::connect(address)?.exchange(request, Some(canned::WORDS))?;
    ensure!(answer.marked.is_some(), "the answer does not say what the provider said");
    Ok(())
}

impl Provider {
    /// The model as clients name it.
    fn asked(&self) -> String {
        format!("{}/{}", self.connection, self.model)
    }
}

fn sections(upstream: SocketAddr) -> String {
    let mut text = String::new();
    for Provider { connection, plugin, base, auth, model, .. } in PROVIDERS {
        let _ = write!(
            text,
            "\n[providers.{connection}]\nplugin = \"{plugin}\"\nbase_url = \"http://{upstream}{base}\"\napi_key = \"demo\"\n\
             auth = \"{auth}\"\nmodels = [\"{model}\"]\nonly = [\"{model}\"]\n\
             \n[[pricing.price]]\nmodel = \"{connection}/*\"\ninput = \"1.00\"\noutput = \"2.00\"\n",
        );
    }
    for Provider { plugin: name, .. } in PROVIDERS {
        text.push_str(&section(name, true, Instances::Warm, true));
    }
    text.push_str(&section("flat", true, Instances::Warm, true));
    text.push_str(&section("router-heuristic", true, Instances::Warm, true));
    text.push_str(&section("pii", true, Instances::Warm, true));
    text.push_str(&section("policy-rules", true, Instances::Warm, false));
    text.push_str(POLICY);
    text
}

/// The pairs as a table of Markdown: a line for each client, a column for each provider; a pair that passes through is bold.
pub fn table(measured: &[Measured]) -> String {
    let mut text = String::from("| client |");
    for provider in PROVIDERS {
        let _ = write!(text, " {} |", provider.name);
    }
    text.push_str(" bare proxy |\n|---|");
    text.push_str(&"---|".repeat(PROVIDERS.len() + 1));
    for dialect in Dialect::ALL {
        let own: Vec<_> = measured.iter().filter(|measured| measured.dialect == dialect).collect();
        if own.is_empty() {
            continue;
        }
        let _ = write!(text, "\n| {} |", dialect.name());
        for provider in PROVIDERS {
            let found = own.iter().find(|measured| measured.provider == provider);
            let cell = found.map_or_else(|| "–".to_owned(), |found| found.cell());
            let _ = write!(text, " {cell} |");
        }
        let bare: Vec<_> = own.iter().filter_map(|measured| measured.row.bare).collect();
        let range = bare.iter().fold((f64::MAX, 0.0_f64), |(least, most), bare| (least.min(*bare), most.max(*bare)));
        let _ = write!(text, " {:.1} to {:.1} µs |", range.0, range.1);
    }
    text
}

impl Measured {
    fn cell(&self) -> String {
        let number = format!("{:.0} µs, {:.1}×", self.row.gateway, self.row.ratio.unwrap_or(f64::NAN));
        if self.provider.same == Some(self.dialect) { format!("**{number}**") } else { number }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_client_and_a_column_for_each_provider() {
        let measured = |dialect, at: usize, gateway| Measured {
            dialect,
            provider: PROVIDERS[at],
            row: Row::ratio("x".into(), gateway, 10.0, None),
        };
        let text = table(&[
            measured(Dialect::Chat, 0, 20.0),
            measured(Dialect::Chat, 2, 44.4),
            measured(Dialect::Flat, 6, 31.0),
        ]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        assert!(lines.iter().all(|line| line.matches('|').count() == PROVIDERS.len() + 3), "{text}");
        assert!(lines[2].starts_with("| Chat Completions | **20 µs, 2.0×** | – | 44 µs, 4.4× | –"), "{text}");
        assert!(lines[3].ends_with("| 31 µs, 3.1× | 10.0 to 10.0 µs |"), "{text}");
    }
}
