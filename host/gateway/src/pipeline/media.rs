//! Media that a request names by URL, for an endpoint that takes it inline only: fetched once for all attempts, where the operator
//! allows it, else left out with a note or refused. Only decoded requests come here: a client of the provider's own format speaks
//! to it in the provider's own words.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use portcullis_runtime::contract::chat::{self, Content, Media, ResultContent, Source};
use portcullis_runtime::contract::types::{self, Note};
use tokio::task::JoinSet;

use super::chat::Inbound;
use super::request::{NOTE_DROPPED, unsupported};
use super::{Exchange, Stop};
use crate::catalog::Offer;
use crate::config::Unsupported;
use crate::media::{self, Budget, Inline, Kind, MediaError};

/// What is to be done before a request can be encoded for an endpoint.
pub(super) enum Wanted {
    Nothing,
    /// Files are to be brought inline first.
    Files,
    /// It is encoded without them, with these notes.
    Without(Box<chat::Request>, Vec<Note>),
}

/// Refuses media named by a scheme that is a provider's own (`s3:`, `gs:`) where the connection is not open to it: the provider would
/// read it by the operator's rights, for anybody (invariant 11).
pub(super) fn refuse_account_objects(request: &chat::Request, offer: &Offer) -> Result<(), Stop> {
    let mut named = None;
    for_each(request, |kind, media| {
        let theirs = matches!(&media.source, Source::Url(url) if url.contains(':')) && place(media).is_none();
        named = named.or(theirs.then_some(kind));
    });
    match named {
        Some(kind) if !offer.connection.shared_objects => {
            let message = format!(
                "This request names an object ({}) in a provider's own storage, which `{}` would read for everybody who uses this gateway's account. It is \
                 passed on only to a connection with `shared_objects`.",
                kind.name(),
                offer.connection.name
            );
            Err(Stop::of(types::FailureKind::UnsupportedFeature, "unsupported_feature", message))
        }
        _ => Ok(()),
    }
}

impl Exchange {
    /// What is to be done with a request's media, of which these kinds must be inline.
    pub(super) fn media_wanted(&self, request: &chat::Request, inline: &[Kind], offer: &Offer) -> Result<Wanted, Stop> {
        if inline.is_empty() {
            return Ok(Wanted::Nothing);
        }
        let (mut far, mut near) = (None, false);
        for_each(request, |kind, media| match place(media) {
            Some(Place::Far(_)) if inline.contains(&kind) => far = far.or(Some(kind)),
            Some(Place::Near(_)) if inline.contains(&kind) => near = true,
            _ => {}
        });
        let config = &self.snapshot.config;
        Ok(match far {
            Some(_) if config.media.fetch => Wanted::Files,
            _ if near => Wanted::Files,
            None => Wanted::Nothing,
            Some(kind) if config.routing.unsupported == Unsupported::Refuse => {
                return Err(unsupported(offer, &feature(kind)));
            }
            Some(kind) => {
                let mut request = request.clone();
                let notes = leave_out(&mut request, inline);
                if request.messages.is_empty() {
                    return Err(unsupported(offer, &feature(kind)));
                }
                Wanted::Without(Box::new(request), notes)
            }
        })
    }

    /// Brings these kinds inline. What was brought counts as if the client had sent it.
    pub(super) async fn bring_media(&mut self, inbound: &mut Inbound, inline: &[Kind]) -> Result<(), Stop> {
        let Some(request) = &mut inbound.decoded else { return Ok(()) };
        let waiting = Instant::now();
        self.release_plugins();
        let snapshot = Arc::clone(&self.snapshot);
        let config = Arc::new(snapshot.config.media.clone());
        let budget = Arc::new(Budget::new(config.max_bytes));
        let mut files: HashMap<(Kind, String), Inline> = HashMap::new();
        let mut fetching: JoinSet<((Kind, String), Result<Inline, MediaError>)> = JoinSet::new();
        let mut asked: Vec<(Kind, String)> = Vec::new();
        let mut refusal = None;
        for_each(request, |kind, media| {
            if !inline.contains(&kind) {
                return;
            }
            match place(media) {
                Some(Place::Near(url)) => match media::inline(url) {
                    Some(Ok(file)) => drop(files.insert((kind, url.to_owned()), file)),
                    Some(Err(error)) => refusal = Some(refused(kind, "data:", &error)),
                    None => {}
                },
                Some(Place::Far(url)) if config.fetch => {
                    let key = (kind, url.to_owned());
                    if asked.contains(&key) {
                        return;
                    }
                    asked.push(key.clone());
                    if asked.len() > config.max_files {
                        refusal = Some(too_many(config.max_files));
                        return;
                    }
                    let (config, budget, declared) =
                        (Arc::clone(&config), Arc::clone(&budget), media.media_type.clone());
                    fetching.spawn(async move {
                        let file = media::fetch(&key.1, kind, declared.as_deref(), &config, &budget).await;
                        (key, file)
                    });
                }
                _ => {}
            }
        });
        if let Some(stop) = refusal {
            return Err(stop);
        }
        // Dropped with the request, which ends what is still under way.
        while let Some(ended) = fetching.join_next().await {
            let Ok((key, file)) = ended else { return Err(broken()) };
            match file {
                Ok(file) => drop(files.insert(key, file)),
                Err(error) => {
                    tracing::info!(request_id = %self.context.request_id, kind = key.0.name(), %error, "media was not fetched");
                    return Err(refused(key.0, &key.1, &error));
                }
            }
        }
        let bytes: usize = asked.iter().filter_map(|key| files.get(key)).map(|file| file.base64.len()).sum();
        put_in(request, &files);
        self.facts.body_bytes = self.facts.body_bytes.saturating_add(bytes as u64);
        self.subject = None;
        self.waited += waiting.elapsed();
        Ok(())
    }
}

enum Place<'a> {
    /// In the URL itself.
    Near(&'a str),
    Far(&'a str),
}

/// Where the bytes of a URL are; `None` where there is no URL, or one of a scheme that is the provider's own (`s3:`, `gs:`).
fn place(media: &Media) -> Option<Place<'_>> {
    let Source::Url(url) = &media.source else { return None };
    let (scheme, _) = url.split_once(':')?;
    if scheme.eq_ignore_ascii_case("data") {
        Some(Place::Near(url))
    } else if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") {
        Some(Place::Far(url))
    } else {
        None
    }
}

fn of_part(content: &Content) -> Option<(Kind, &Media)> {
    match content {
        Content::Image(media) => Some((Kind::Image, media)),
        Content::Audio(media) => Some((Kind::Audio, media)),
        Content::Video(media) => Some((Kind::Video, media)),
        Content::Document(media) => Some((Kind::Document, media)),
        _ => None,
    }
}

fn of_result(content: &ResultContent) -> Option<(Kind, &Media)> {
    match content {
        ResultContent::Image(media) => Some((Kind::Image, media)),
        ResultContent::Document(media) => Some((Kind::Document, media)),
        _ => None,
    }
}

fn for_each<'a>(request: &'a chat::Request, mut visit: impl FnMut(Kind, &'a Media)) {
    for part in request.messages.iter().flat_map(|message| &message.parts) {
        if let Some((kind, media)) = of_part(&part.content) {
            visit(kind, media);
        }
        if let Content::ToolResult(result) = &part.content {
            result
                .parts
                .iter()
                .filter_map(|part| of_result(&part.content))
                .for_each(|(kind, media)| visit(kind, media));
        }
    }
}

fn put_in(request: &mut chat::Request, files: &HashMap<(Kind, String), Inline>) {
    let put = |kind: Kind, media: &mut Media| {
        let Source::Url(url) = &media.source else { return };
        if let Some(file) = files.get(&(kind, url.clone())) {
            media.source = Source::Base64(file.base64.clone());
            media.media_type = file.media_type.clone();
        }
    };
    for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
        match &mut part.content {
            Content::Image(media) => put(Kind::Image, media),
            Content::Audio(media) => put(Kind::Audio, media),
            Content::Video(media) => put(Kind::Video, media),
            Content::Document(media) => put(Kind::Document, media),
            Content::ToolResult(result) => {
                for part in &mut result.parts {
                    match &mut part.content {
                        ResultContent::Image(media) => put(Kind::Image, media),
                        ResultContent::Document(media) => put(Kind::Document, media),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// Takes out what would have to be fetched, and messages that held nothing else.
fn leave_out(request: &mut chat::Request, kinds: &[Kind]) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut stays = |found: Option<(Kind, &Media)>| match found {
        Some((kind, media)) if kinds.contains(&kind) && matches!(place(media), Some(Place::Far(_))) => {
            notes.push(Note { code: NOTE_DROPPED.to_owned(), subject: feature(kind) });
            false
        }
        _ => true,
    };
    request.messages.retain_mut(|message| {
        let before = message.parts.len();
        message.parts.retain_mut(|part| {
            if let Content::ToolResult(result) = &mut part.content {
                result.parts.retain(|part| stays(of_result(&part.content)));
            }
            stays(of_part(&part.content))
        });
        before == 0 || !message.parts.is_empty()
    });
    notes
}

fn feature(kind: Kind) -> String {
    format!("{} by URL", kind.name())
}

/// What the client named is not to be had: its own to mend.
fn refused(kind: Kind, url: &str, error: &MediaError) -> Stop {
    const SHOWN: usize = 200;
    let shown: String = url.chars().take(SHOWN).collect();
    let message = format!("The {} at `{shown}` {error}.", kind.name());
    Stop::of(types::FailureKind::InvalidRequest, "media_not_fetched", message)
}

fn too_many(limit: usize) -> Stop {
    let message = format!("The request names more than {limit} files by URL.");
    Stop::of(types::FailureKind::InvalidRequest, "media_not_fetched", message)
}

fn broken() -> Stop {
    Stop::of(types::FailureKind::Internal, "media_not_fetched", "The gateway could not process the request.")
}
