//! Values that come from the environment and must never be printed.

use std::fmt;

use serde::{Deserialize, Deserializer};

use super::ConfigError;

/// Where `${NAME}` is looked up. A trait so that tests need no real environment.
pub trait Environment {
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

/// A credential: a literal or a `${NAME}` reference, whose value no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    written: String,
    value: String,
}

impl Secret {
    /// The value, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.value
    }

    /// One that was found and not written in the file.
    pub(crate) fn known(value: String) -> Self {
        Secret { written: "${found}".to_owned(), value }
    }

    /// Whether the file holds the secret itself rather than a reference.
    pub fn is_literal(&self) -> bool {
        self.variable().is_none()
    }

    pub(super) fn is_set(&self, environment: &dyn Environment) -> bool {
        self.variable().is_none_or(|name| environment.get(name).is_some())
    }

    pub(super) fn resolve(&mut self, place: &str, environment: &dyn Environment) -> Result<(), ConfigError> {
        self.value = match self.variable() {
            None => self.written.clone(),
            Some(variable) => environment
                .get(variable)
                .ok_or_else(|| ConfigError::Unset { place: place.to_owned(), variable: variable.to_owned() })?,
        };
        // A line break in a credential would otherwise surface as an opaque header error on every request.
        if http::HeaderValue::from_str(&self.value).is_err() {
            return Err(ConfigError::invalid(place, "holds characters that no HTTP header may hold"));
        }
        Ok(())
    }

    /// As [`resolve`](Self::resolve), with any number of references anywhere in it.
    pub(super) fn fill(&mut self, place: &str, environment: &dyn Environment) -> Result<(), ConfigError> {
        let mut value = String::new();
        let mut rest = &*self.written;
        while let Some((before, (variable, behind))) =
            rest.split_once("${").and_then(|(before, behind)| Some((before, behind.split_once('}')?)))
        {
            value.push_str(before);
            value.push_str(
                &environment
                    .get(variable)
                    .ok_or_else(|| ConfigError::Unset { place: place.to_owned(), variable: variable.to_owned() })?,
            );
            rest = behind;
        }
        value.push_str(rest);
        self.value = value;
        Ok(())
    }

    fn variable(&self) -> Option<&str> {
        self.written.strip_prefix("${")?.strip_suffix('}')
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(self.variable().unwrap_or("(literal)"))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = String::deserialize(deserializer)?;
        if written.is_empty() {
            return Err(serde::de::Error::custom("is empty"));
        }
        Ok(Secret { written, value: String::new() })
    }
}
