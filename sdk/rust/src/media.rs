//! Images, recordings, videos and documents that a provider does not take. They are left out before the request is written, each
//! with a note: whether such a note ends the request is the operator's choice (`[routing] unsupported`) and no plugin's.

use std::borrow::Cow;

use crate::ir::{Content, Failure, FailureKind, Media, Message, Part, Request, ResultContent, Role};
use crate::notes::Notes;

/// What a piece of media is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Image,
    Audio,
    Video,
    Document,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Image => "image",
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::Document => "document",
        }
    }
}

/// The request without the media for which `takes` is false, which become notes: `messages.audio`, `tool_result.image`. A message of
/// which nothing is left goes with them. A request that has only what is taken is not copied.
///
/// # Errors
/// Of the user's words and media nothing is left; the failure names what there was and the provider, by `name`.
pub fn fitted<'r>(
    request: &'r Request,
    name: &str,
    notes: &mut Notes,
    takes: impl Fn(Kind, &Media) -> bool,
) -> Result<Cow<'r, Request>, Failure> {
    let part_fits = |part: &Part| of_part(part).is_none_or(|(kind, media)| takes(kind, media));
    let result_fits = |content: &ResultContent| of_result(content).is_none_or(|(kind, media)| takes(kind, media));
    let fits = |part: &Part| match &part.content {
        Content::ToolResult(result) => result.parts.iter().all(|part| result_fits(&part.content)),
        _ => part_fits(part),
    };
    if request.messages.iter().flat_map(|message| &message.parts).all(fits) {
        return Ok(Cow::Borrowed(request));
    }
    let mut request = request.clone();
    let mut subjects = Vec::new();
    let mut leave = |place: &str, kind: Kind| {
        let subject = format!("{place}.{}", kind.name());
        notes.dropped(&subject);
        subjects.push(subject);
    };
    for message in &mut request.messages {
        message.parts.retain_mut(|part| {
            if let Content::ToolResult(result) = &mut part.content {
                result.parts.retain(|part| {
                    let stays = result_fits(&part.content);
                    if let (false, Some((kind, _))) = (stays, of_result(&part.content)) {
                        leave("tool_result", kind);
                    }
                    stays
                });
                return true;
            }
            let stays = part_fits(part);
            if let (false, Some((kind, _))) = (stays, of_part(part)) {
                leave("messages", kind);
            }
            stays
        });
    }
    request.messages.retain(|message| !message.parts.is_empty());
    let is_said = |message: &Message| !matches!(message.role, Role::System | Role::Developer);
    if !request.messages.iter().any(is_said) {
        let subject = subjects.into_iter().next().unwrap_or_default();
        let message = format!("`{subject}` is not supported by {name}, and the request says nothing else.");
        return Err(Failure {
            param: Some("messages".to_owned()),
            ..Failure::new(FailureKind::UnsupportedFeature, message).with_code("unsupported_feature")
        });
    }
    Ok(Cow::Owned(request))
}

fn of_part(part: &Part) -> Option<(Kind, &Media)> {
    match &part.content {
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

/// The type and the base64 data of a `data:` URL, as OpenAI's clients write what is inline: `data:image/png;base64,…`.
pub fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let kind = head.strip_suffix(";base64")?;
    Some((kind.split(';').next().unwrap_or(kind), data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Note, ResultPart, Source, ToolResult};

    fn media() -> Media {
        Media { source: Source::Base64("AAAA".into()), media_type: None, name: None, detail: None }
    }

    fn asked(parts: Vec<Part>) -> Request {
        let mut request = Request::new("f", "m");
        request.messages =
            vec![Message::new(Role::System, vec![Part::text("Be brief")]), Message::new(Role::User, parts)];
        request
    }

    #[test]
    fn what_is_taken_stays_as_it_is() {
        let request = asked(vec![Part::text("x"), Part::new(Content::Image(media()))]);
        let mut notes = Notes::default();
        let fitted = fitted(&request, "P", &mut notes, |kind, _| kind == Kind::Image).unwrap();
        assert!(matches!(fitted, Cow::Borrowed(_)) && notes.into_vec().is_empty());
    }

    #[test]
    fn what_is_not_becomes_a_note() {
        let image = ResultPart::new(ResultContent::Image(media()));
        let result = ToolResult { call_id: "c".into(), name: None, parts: vec![image], is_error: false };
        let mut request =
            asked(vec![Part::text("x"), Part::new(Content::Audio(media())), Part::new(Content::Audio(media()))]);
        request.messages.push(Message::new(Role::Tool, vec![Part::new(Content::ToolResult(result))]));
        request.messages.push(Message::new(Role::User, vec![Part::new(Content::Video(media()))]));
        let mut notes = Notes::default();
        let fitted = fitted(&request, "P", &mut notes, |_, _| false).unwrap().into_owned();
        let parts: Vec<_> = fitted.messages.iter().map(|message| message.parts.len()).collect();
        assert_eq!(parts, [1, 1, 1]);
        let expected = ["messages.audio", "tool_result.image", "messages.video"].map(Note::dropped);
        assert_eq!(notes.into_vec(), expected);
    }

    #[test]
    fn a_request_of_nothing_else_is_refused() {
        let request = asked(vec![Part::new(Content::Audio(media()))]);
        let failure = fitted(&request, "The provider", &mut Notes::default(), |_, _| false).unwrap_err();
        assert_eq!(failure.kind, FailureKind::UnsupportedFeature);
        assert!(failure.message.contains("`messages.audio` is not supported by The provider"), "{}", failure.message);
    }
}
