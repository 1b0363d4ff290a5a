//! One text as a guard sees it, and how the finders read it.
//!
//! Finders are written once for whole texts and for streams: they read bytes through [`Window::at`], which answers
//! [`Growing`] past the end of a text that is still open, and `?` hands that on. Invariant: whether a finder says yes or no
//! depends on no byte it has not read, so that a verdict reached early in a stream is the verdict on the whole text.

/// More of the text may follow and decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growing;

/// Where a match ends, none, or not known yet.
pub type Parsed = Result<Option<usize>, Growing>;

/// A text with the part of it that may still be changed.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    pub text: &'a str,
    /// A match starts here or later. What stands before is only looked at.
    pub from: usize,
    /// More of the text may follow.
    pub open: bool,
    /// Where the last key ends. Streams may show its mask in its place, so nothing looks back past here.
    pub clear: usize,
    /// What the byte before `from` was like where that is within a key, whose mask stands there now.
    pub last: Option<u8>,
}

impl<'a> Window<'a> {
    pub fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The byte at `i`; none at the end of a text that is complete.
    pub fn at(&self, i: usize) -> Result<Option<u8>, Growing> {
        match self.bytes().get(i) {
            Some(&byte) => Ok(Some(byte)),
            None if self.open => Err(Growing),
            None => Ok(None),
        }
    }

    /// The byte before `i`.
    pub fn before(&self, i: usize) -> Option<u8> {
        match self.last {
            Some(last) if i == self.from => Some(last),
            _ => i.checked_sub(1).filter(|_| i != self.clear).map(|i| self.bytes()[i]),
        }
    }

    /// Whether the byte before `i` belongs to the same word. The letter of an escape such as `\n` in text that is itself
    /// quoted code or JSON does not.
    pub fn in_word(&self, i: usize) -> bool {
        self.before(i).is_some_and(is_word) && !self.after_escape(i)
    }

    /// Whether `\n`, `\r` or `\t`, spelt out, ends right before `i`.
    pub fn after_escape(&self, i: usize) -> bool {
        i >= 2 && self.bytes()[i - 2] == b'\\' && matches!(self.bytes()[i - 1], b'n' | b'r' | b't')
    }

    /// Whether a hyphen or full stop with a digit before it stands right before `i`: the number began earlier.
    pub fn in_number(&self, i: usize) -> bool {
        i >= 2
            && matches!(self.before(i), Some(b'-' | b'.'))
            && self.before(i - 1).is_some_and(|byte| byte.is_ascii_digit())
    }

    /// Whether a number may end at `i`: no word goes on there, nor does the number behind a hyphen or full stop.
    pub fn number_ends(&self, i: usize) -> Result<bool, Growing> {
        Ok(match self.at(i)? {
            Some(b'-' | b'.') => !self.at(i + 1)?.is_some_and(|next| next.is_ascii_digit()),
            Some(byte) => !is_word(byte),
            None => true,
        })
    }

    /// Where the run of bytes of a class that begins at `i` ends; the window's end if it reaches that.
    pub fn run(&self, i: usize, class: u8) -> usize {
        self.bytes()[i..].iter().position(|&byte| !is(byte, class)).map_or(self.len(), |length| i + length)
    }

    /// Where the run of bytes of a class that ends at `i` begins, looking back no further than `most`.
    pub fn run_back(&self, i: usize, class: u8, most: usize) -> usize {
        let mut start = i;
        while start > 0 && start != self.clear && i - start < most && is(self.bytes()[start - 1], class) {
            start -= 1;
        }
        start
    }
}

/// Letters and digits.
pub const ALNUM: u8 = 1;
/// Within a key or token: letters, digits, `-`, `_`.
pub const TOKEN: u8 = 1 << 1;
/// Within a bearer token or base64: `TOKEN` and `.`, `~`, `+`, `/`, `=`.
pub const WIDE: u8 = 1 << 2;
/// Before the `@` of an address, of ASCII.
pub const LOCAL: u8 = 1 << 3;
/// Within a domain, of ASCII.
pub const DOMAIN: u8 = 1 << 4;
/// Within an IPv6 address: hexadecimal digits, `:`, `.`.
pub const HEX: u8 = 1 << 5;
/// Within the body of a PEM block, its headers and its line breaks spelt out; `-` is for the finder to judge.
pub const PEM: u8 = 1 << 6;
/// Base64, of either alphabet, without its `=`.
pub const BASE64: u8 = 1 << 7;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        let mut class = 0;
        if byte.is_ascii_alphanumeric() {
            class |= ALNUM | TOKEN | WIDE | LOCAL | DOMAIN | PEM | BASE64;
        }
        match byte {
            b'-' => class |= TOKEN | WIDE | LOCAL | DOMAIN | BASE64,
            b'_' => class |= TOKEN | WIDE | LOCAL | BASE64,
            b'.' => class |= WIDE | LOCAL | DOMAIN | HEX,
            b'+' => class |= WIDE | LOCAL | PEM | BASE64,
            b'%' => class |= LOCAL,
            b'/' => class |= WIDE | PEM | BASE64,
            b'=' => class |= WIDE | PEM,
            b'~' => class |= WIDE,
            b':' => class |= HEX | PEM,
            b' ' | b'\t' | b'\r' | b'\n' | b'\\' | b',' => class |= PEM,
            _ => {}
        }
        if byte.is_ascii_hexdigit() {
            class |= HEX;
        }
        classes[i] = class;
        i += 1;
    }
    classes
};

pub fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

pub fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
