//! Media by URL, brought inline for providers that take nothing else.
//!
//! The URL is the client's, and the gateway stands where the client does not: the address that a connection is made to is the one
//! that was checked (`address`), nothing of the operator's goes with the request, and no redirect is followed.

mod address;
mod data;
mod fetch;

pub(crate) use data::inline;
pub(crate) use fetch::{Budget, fetch};

/// A kind of media that an endpoint may want inline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Image,
    Audio,
    Video,
    Document,
}

impl Kind {
    /// As a manifest names it; `None` for what this version does not know.
    pub fn parse(name: &str) -> Option<Self> {
        [Kind::Image, Kind::Audio, Kind::Video, Kind::Document].into_iter().find(|kind| kind.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Kind::Image => "image",
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::Document => "document",
        }
    }
}

/// A file, brought inline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inline {
    /// Standard base64.
    pub base64: String,
    pub media_type: Option<String>,
}

/// Why a file cannot be brought inline. Fit for the client, which named it: nothing here tells what the gateway can reach and the
/// client cannot, but that an address is not a public one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum MediaError {
    #[error("is not a URL that can be fetched")]
    Url,
    #[error("is not https")]
    Scheme,
    #[error("names credentials, which are not sent")]
    Credentials,
    #[error("is a data URL that cannot be read")]
    Data,
    #[error("has a host that is not found")]
    Unresolved,
    #[error("is not at a public address")]
    Private,
    #[error("cannot be reached")]
    Unreachable,
    #[error("did not come in time")]
    Timeout,
    #[error("leads elsewhere by a redirect, which is not followed")]
    Redirect,
    #[error("was answered with status {0}")]
    Status(u16),
    #[error("is compressed in a way that was not asked for")]
    Encoding,
    #[error("has the media type `{0}`, which is not among those that may be fetched")]
    Type(String),
    #[error("is, with the request's other files, longer than {0} bytes")]
    TooLong(usize),
}
