//! Texts that lie end to end, as the contract hands them to a guard: each string that crossed alone would cost an allocation
//! here and a call of the guest's allocator there.

use super::{PlaceKind, Text};

/// The texts of a document or of a batch of frames, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// All contents.
    pub contents: String,
    /// All places.
    pub places: String,
    pub spans: Vec<Span>,
}

/// One of [`Texts`]: it begins where the one before it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub kind: PlaceKind,
    /// Bytes of `places`.
    pub place_end: u32,
    /// Bytes of `contents`.
    pub content_end: u32,
    /// As [`Text::released`].
    pub released: u32,
    /// As [`Text::open`].
    pub open: bool,
}

impl Texts {
    /// With room for what a document of so many bytes mostly has.
    pub(super) fn with_room(bytes: usize) -> Self {
        let texts = (bytes / 64).clamp(4, 64);
        Self {
            contents: String::with_capacity(bytes),
            places: String::with_capacity(texts * 24),
            spans: Vec::with_capacity(texts),
        }
    }

    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Adds a text whose place was written to the end of `places`.
    pub(super) fn push_placed(&mut self, kind: PlaceKind, content: &str, released: u32, open: bool) {
        self.contents.push_str(content);
        let span = Span { kind, place_end: end(&self.places), content_end: end(&self.contents), released, open };
        self.spans.push(span);
    }

    pub(super) fn push(&mut self, text: &Text) {
        self.places.push_str(&text.at);
        self.push_placed(text.kind, &text.content, text.released, text.open);
    }

    pub(super) fn append(&mut self, other: &Texts) {
        let (place, content) = (end(&self.places), end(&self.contents));
        self.places.push_str(&other.places);
        self.contents.push_str(&other.contents);
        let spans = other.spans.iter();
        self.spans.extend(spans.map(|span| Span {
            place_end: place + span.place_end,
            content_end: content + span.content_end,
            ..*span
        }));
    }

    /// Each by itself.
    pub fn to_vec(&self) -> Vec<Text> {
        let (mut place, mut content) = (0, 0);
        let spans = self.spans.iter().map(|span| {
            let (at, from) = (place..span.place_end as usize, content..span.content_end as usize);
            (place, content) = (at.end, from.end);
            Text {
                kind: span.kind,
                at: self.places[at].to_owned(),
                content: self.contents[from].to_owned(),
                released: span.released,
                open: span.open,
            }
        });
        spans.collect()
    }
}

fn end(text: &str) -> u32 {
    u32::try_from(text.len()).expect("bodies are smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let text = |at: &str, content: &str| Text {
            kind: PlaceKind::Value,
            at: at.to_owned(),
            content: content.to_owned(),
            released: 1,
            open: true,
        };
        let (one, two, three) = (text("/a", "ä"), text("", "b"), text("/c/0", "cc"));
        let (mut texts, mut more) = (Texts::with_room(1), Texts::default());
        texts.push(&one);
        more.push(&two);
        more.push(&three);
        texts.append(&more);
        assert_eq!((texts.to_vec(), texts.len()), (vec![one, two, three], 3));
    }
}
