//! Where a text stands in its document's bytes, and how what was found in it is spliced back through one or two levels of
//! escapes.

use std::borrow::Cow;
use std::ops::Range;

use crate::json::{
    Kind, Literal, OffsetMap, PatternSet, Place, ScanError, StringAhead, Visitor, escape_into, quote, unescape, walk,
};

use super::findings::{SpliceError, replaced, replacements};
use super::{Finding, PlaceKind, Texts};

/// A number of so many digits can be a card, a phone or an account.
const LONG_NUMBER: usize = 9;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    /// The string literal whose text is the JSON that `range` is of.
    pub(super) outer: Option<Range<usize>>,
    pub(super) form: Form,
    /// The literal, quotes included.
    pub(super) range: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    String,
    /// A member's name, of the object that starts there.
    Key {
        object: usize,
    },
    Number,
    /// Not JSON: the text is the bytes.
    Plain,
}

impl Spot {
    pub(super) fn string(range: Range<usize>) -> Self {
        Self { outer: None, form: Form::String, range }
    }

    /// The text this spot is in: the body, or the JSON within one of its strings.
    fn host<'b>(&self, body: &'b str) -> Cow<'b, str> {
        match &self.outer {
            Some(outer) => unescape(&body[outer.start + 1..outer.end - 1]),
            None => Cow::Borrowed(body),
        }
    }

    /// The splices into the body for what was found in this spot's text; none where nothing is replaced.
    pub(super) fn splices(&self, body: &str, found: &[&Finding]) -> Result<Vec<(Range<usize>, String)>, SpliceError> {
        let host = self.host(body);
        let splices = self.host_splices(&host, found)?;
        let Some(outer) = &self.outer else { return Ok(splices) };
        let inside = outer.start + 1;
        let mut map = OffsetMap::new(&body[inside..outer.end - 1]);
        let twice = splices.into_iter().map(|(range, text)| {
            let mut escaped = String::with_capacity(text.len() + 8);
            escape_into(&text, &mut escaped);
            (inside + map.raw_offset(range.start)..inside + map.raw_offset(range.end), escaped)
        });
        Ok(twice.collect())
    }

    fn host_splices(&self, host: &str, found: &[&Finding]) -> Result<Vec<(Range<usize>, String)>, SpliceError> {
        let literal = &host[self.range.clone()];
        match self.form {
            Form::String | Form::Key { .. } => {
                let raw = &literal[1..literal.len() - 1];
                let content = unescape(raw);
                let mut map = OffsetMap::new(raw);
                let inside = self.range.start + 1;
                let splices = replacements(found, &content, 0)?.into_iter().map(|(range, replacement)| {
                    let mut escaped = String::with_capacity(replacement.len() + 8);
                    escape_into(replacement, &mut escaped);
                    (inside + map.raw_offset(range.start)..inside + map.raw_offset(range.end), escaped)
                });
                Ok(splices.collect())
            }
            // A number with a hole is none: the whole becomes a string.
            Form::Number => {
                let replacements = replacements(found, literal, 0)?;
                if replacements.is_empty() {
                    return Ok(Vec::new());
                }
                Ok(vec![(self.range.clone(), quote(&replaced(literal, &replacements)))])
            }
            Form::Plain => {
                let replacements = replacements(found, literal, 0)?.into_iter();
                let at = self.range.start;
                Ok(replacements.map(|(range, text)| (at + range.start..at + range.end, text.to_owned())).collect())
            }
        }
    }

    /// The name this key has with what was found replaced, and the object it is of.
    pub(super) fn new_key(&self, body: &str, found: &[&Finding]) -> Result<Option<KeyChange>, SpliceError> {
        let Form::Key { object } = self.form else { return Ok(None) };
        let host = self.host(body);
        let content = unescape(&host[self.range.start + 1..self.range.end - 1]);
        let replacements = replacements(found, &content, 0)?;
        if replacements.is_empty() {
            return Ok(None);
        }
        let name = replaced(&content, &replacements);
        Ok(Some(KeyChange { object: (self.outer.as_ref().map(|outer| outer.start), object), name }))
    }
}

pub(super) struct KeyChange {
    /// Unique in the document.
    pub(super) object: (Option<usize>, usize),
    pub(super) name: String,
}

/// Texts and their spots, as a walk finds them.
#[derive(Debug, Default)]
pub(super) struct Cut {
    pub(super) texts: Texts,
    pub(super) spots: Vec<Spot>,
}

impl Cut {
    /// With room for what a body of so many bytes mostly has.
    pub(super) fn with_room(bytes: usize) -> Self {
        let texts = Texts::with_room(bytes);
        let spots = Vec::with_capacity(texts.spans.capacity());
        Self { texts, spots }
    }

    /// Adds a text at this place of the document.
    #[inline]
    pub(super) fn push_here(&mut self, kind: PlaceKind, place: &Place<'_>, content: &str, spot: Spot) {
        place.write_pointer(&mut self.texts.places);
        self.texts.push_placed(kind, content, 0, false);
        self.spots.push(spot);
    }

    pub(super) fn push(&mut self, kind: PlaceKind, at: &str, content: &str, spot: Spot) {
        self.texts.places.push_str(at);
        self.texts.push_placed(kind, content, 0, false);
        self.spots.push(spot);
    }

    /// A string literal whose text is itself JSON: its leaves, or the whole where it is none.
    pub(super) fn push_json_string(&mut self, text: &str, at: &str, literal: Range<usize>) {
        let mut inner = Inner { cut: Self::default(), outer: &literal, at };
        match walk(text, &PatternSet::default(), &mut inner) {
            Ok(()) => {
                let Inner { mut cut, .. } = inner;
                self.texts.append(&cut.texts);
                self.spots.append(&mut cut.spots);
            }
            Err(_) if text.is_empty() => {}
            Err(_) => self.push(PlaceKind::ToolArguments, at, text, Spot::string(literal)),
        }
    }
}

/// Reads the JSON within a string.
struct Inner<'i> {
    cut: Cut,
    outer: &'i Range<usize>,
    at: &'i str,
}

impl Inner<'_> {
    fn push(&mut self, place: &Place<'_>, content: &str, form: Form, range: Range<usize>) {
        let spot = Spot { outer: Some(self.outer.clone()), form, range };
        self.cut.texts.places.push_str(self.at);
        self.cut.push_here(PlaceKind::ToolArguments, place, content, spot);
    }
}

impl Visitor for Inner<'_> {
    const MATCHES_ONLY: bool = false;

    fn key(&mut self, place: &Place<'_>, key: &Literal) {
        if let Some(name) = telling_key(place.body(), key) {
            self.push(place, &name, Form::Key { object: place.container() }, key.with_quotes());
        }
    }

    fn value(&mut self, place: &Place<'_>, kind: Kind, range: Range<usize>) {
        let body = place.body();
        match kind {
            Kind::Number if is_long_number(&body[range.clone()]) => {
                self.push(place, &body[range.clone()], Form::Number, range);
            }
            _ => {}
        }
    }

    fn string(&mut self, place: &Place<'_>, string: StringAhead<'_, '_>) -> Result<(), ScanError> {
        let (range, text) = string.text()?;
        if !text.is_empty() {
            self.push(place, text, Form::String, range);
        }
        Ok(())
    }
}

pub(super) fn is_long_number(number: &str) -> bool {
    number.len() >= LONG_NUMBER && number.bytes().filter(u8::is_ascii_digit).count() >= LONG_NUMBER
}

const DIGIT: u8 = 1;
const LOWER: u8 = 2;
/// In no identifier.
const OTHER: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 128 {
        classes[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' | b'_' | b'$' => 0,
            _ => OTHER,
        };
        byte += 1;
    }
    classes
};

/// The key's name if it can tell something about a person: if it is not a plain identifier as schemas have them (ASCII
/// letters, digits, `_`, `$`; at most 32 bytes and four digits; with a lower-case letter where longer than 12).
pub(super) fn telling_key<'b>(body: &'b str, key: &Literal) -> Option<Cow<'b, str>> {
    let raw = &body[key.inside.clone()];
    let identifier = raw.len() <= 32 && {
        let (mut digits, mut classes) = (0, 0);
        for byte in raw.bytes() {
            let class = CLASSES[usize::from(byte)];
            digits += class & DIGIT;
            classes |= class;
        }
        classes & OTHER == 0 && digits <= 4 && (classes & LOWER != 0 || raw.len() <= 12)
    };
    if identifier { None } else { Some(unescape(raw)) }
}
