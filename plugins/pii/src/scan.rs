//! Finds everything within one window: the finders run where triggers stand and, in a text that is still open, at its end.
//!
//! Invariants: no text is released from whose last bytes a match may still grow; each finder's verdict depends on the text
//! alone, not on how a stream was cut; a clean text allocates nothing.

use crate::config::{Action, Kind, Rules};
use crate::find::token::{self, Key, Tail};
use crate::find::{card, email, iban, ip, pem, phone, ssn};
use crate::resolve::{Found, Hold};
use crate::trigger::{Triggers, base64_end};
use crate::window::{ALNUM, Growing, HEX, Parsed, WIDE, Window, is};

/// From this length on a run of base64 is data, in which only a key at its head is looked for.
const DATA: usize = 512;

/// The end of data that is looked at like any text.
const TAIL: usize = 64;

/// What stands in a window, unsorted and overlapping.
#[derive(Debug, Default)]
pub struct Scan {
    pub found: Vec<Found>,
    /// From where on a match may still grow.
    pub hold: Option<Hold>,
}

/// Runs all finders; in a bare number only those whose values are numbers. `rest` is of a secret begun earlier.
pub fn scan(rules: &Rules, window: &Window, bare_number: bool, rest: Option<Found>) -> Scan {
    let scan = Scan { found: rest.into_iter().collect(), hold: None };
    let mut scanner = Scanner {
        rules,
        window: Window { clear: rest.filter(|rest| rest.whole).map_or(0, |rest| rest.end), ..*window },
        scan,
        wide: 0,
        number: 0,
        hex: 0,
    };
    if bare_number {
        scanner.bare_number();
    } else {
        scanner.triggers();
        if window.open {
            scanner.tail();
        }
    }
    scanner.custom();
    scanner.scan
}

struct Scanner<'a> {
    rules: &'a Rules,
    window: Window<'a>,
    scan: Scan,
    /// Up to where runs of `WIDE` bytes, numbers and hexadecimal runs have been looked at.
    wide: usize,
    number: usize,
    hex: usize,
}

impl Scanner<'_> {
    fn triggers(&mut self) {
        let bytes = self.window.bytes();
        let mut triggers = Triggers::new(bytes, self.window.from);
        while let Some(at) = triggers.next() {
            // Keys first, since nothing looks back past the end of one.
            if at >= self.wide && bytes[at] != b'@' {
                if let Some(end) = self.data(at) {
                    triggers.skip_to(end);
                    continue;
                }
                self.tokens(at);
            }
            match bytes[at] {
                b'@' => self.email(at),
                b'-' => self.pem(at),
                b'0'..=b'9' => {
                    if !self.window.before(at).is_some_and(|before| before.is_ascii_digit()) {
                        self.number(at);
                        self.iban(at);
                    }
                    self.ip_v6(at);
                }
                _ => {}
            }
        }
    }

    /// The end of the data that `at` stands in, if it does: of images and the like.
    fn data(&mut self, at: usize) -> Option<usize> {
        let start = self.window.run_back(at, WIDE, DATA);
        let end = base64_end(self.window.bytes(), at);
        if end - start < DATA {
            return None;
        }
        if self.on(Kind::ApiKey) && at - start < DATA {
            let run = self.window.run(end, WIDE);
            let window = self.window;
            token::head(&window, start, run, |at, key| self.take_key(at, key));
        }
        // At its end something else may begin, such as the `+1` of a number with spaces.
        let end = end - TAIL;
        self.wide = end;
        Some(end)
    }

    fn on(&self, kind: Kind) -> bool {
        self.rules.on(kind)
    }

    fn add(&mut self, rule: usize, start: usize, end: usize, tail: Option<Tail>, whole: bool) {
        if !self.rules.allowed(rule, &self.window.text[start..end]) {
            self.scan.found.push(Found { start, end, rule, tail, whole, rest: false });
            if whole && rule == Kind::ApiKey as usize && self.rules.rules[rule].action > Action::Report {
                self.window.clear = self.window.clear.max(end);
            }
        }
    }

    fn hold(&mut self, start: usize) {
        if self.scan.hold.is_none_or(|hold| start < hold) {
            self.scan.hold = Some(start);
        }
    }

    /// Takes down what a finder said of `start`; where a match ended.
    fn take(&mut self, kind: Kind, start: usize, parsed: Parsed) -> Option<usize> {
        match parsed {
            Ok(Some(end)) => {
                self.add(kind as usize, start, end, None, true);
                Some(end)
            }
            Ok(None) => None,
            Err(Growing) => {
                self.hold(start);
                None
            }
        }
    }

    fn take_key(&mut self, start: usize, key: Key) {
        match key {
            Key::No => {}
            Key::Growing => self.hold(start),
            Key::Match(end) => self.add(Kind::ApiKey as usize, start, end, None, true),
            Key::Endless(end, tail) => self.add(Kind::ApiKey as usize, start, end, Some(tail), false),
        }
    }

    fn email(&mut self, at: usize) {
        if self.on(Kind::Email)
            && let Some((start, end)) = email::find(&self.window, at)
        {
            self.take(Kind::Email, start, end.map(Some));
        }
    }

    fn pem(&mut self, at: usize) {
        if self.on(Kind::ApiKey) {
            let key = pem::find(&self.window, at);
            self.take_key(at, key);
        }
    }

    /// What begins with the group of digits at `at`.
    fn number(&mut self, at: usize) {
        let window = self.window;
        if at < self.number || !number_begins(&window, at) {
            return;
        }
        let mut end = None;
        if self.on(Kind::Card) {
            end = end.max(self.take(Kind::Card, at, card::find(&window, at)));
        }
        if self.on(Kind::Ssn) {
            end = end.max(self.take(Kind::Ssn, at, ssn::find(&window, at)));
        }
        if self.on(Kind::Ip) {
            end = end.max(self.take(Kind::Ip, at, ip::find_v4(&window, at)));
        }
        if self.on(Kind::Phone) {
            let mut phone = None;
            if at > window.from && matches!(window.before(at), Some(b'+' | b'(')) {
                phone = self.take(Kind::Phone, at - 1, phone::find(&window, at - 1));
            }
            if phone.is_none() {
                phone = self.take(Kind::Phone, at, phone::find(&window, at));
            }
            end = end.max(phone);
        }
        self.number = end.unwrap_or(self.number);
    }

    fn bare_number(&mut self) {
        let digits = self.window.bytes().iter().position(u8::is_ascii_digit);
        if let Some(at) = digits
            && at >= self.window.from
            && self.on(Kind::Card)
        {
            self.take(Kind::Card, at, card::find(&self.window, at));
        }
    }

    /// The account whose check digits begin at `at`.
    fn iban(&mut self, at: usize) {
        if let Some(start) = at.checked_sub(2)
            && start >= self.window.from
            && self.on(Kind::Iban)
        {
            self.take(Kind::Iban, start, iban::find(&self.window, start));
        }
    }

    fn ip_v6(&mut self, at: usize) {
        if at < self.hex.max(self.window.clear) || !self.on(Kind::Ip) {
            return;
        }
        let window = self.window;
        let bytes = window.bytes();
        self.hex = window.run(at, HEX);
        let group = bytes[..at].iter().rev().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if bytes[at..self.hex].contains(&b':') || window.before(at - group) == Some(b':') {
            self.ip_v6_reaching(at);
        }
    }

    fn ip_v6_reaching(&mut self, at: usize) {
        if let Some(start) = ip::v6_start(&self.window, at)
            && start >= self.window.from
            && start < self.window.len()
        {
            self.take(Kind::Ip, start, ip::find_v6(&self.window, start));
        }
    }

    /// The keys in the run around `at`.
    fn tokens(&mut self, at: usize) {
        let start = self.window.run_back(at, WIDE, usize::MAX);
        self.wide = self.window.run(at, WIDE);
        self.keys(start, self.wide);
    }

    fn keys(&mut self, start: usize, end: usize) {
        if self.on(Kind::ApiKey) {
            let window = self.window;
            token::find(&window, start, end, |at, key| self.take_key(at, key));
        }
    }

    /// What begins at the end of an open text without a trigger yet.
    fn tail(&mut self) {
        let window = self.window;
        let end = window.len();
        if self.on(Kind::Email)
            && let Some(start) = email::tail(&window)
        {
            self.hold(start);
        }
        if self.on(Kind::ApiKey) && self.wide < end {
            let start = window.run_back(end, WIDE, token::CERTAIN + 1);
            if end - start <= token::CERTAIN {
                self.keys(start, end);
            }
        }
        if self.on(Kind::Iban) {
            let start = window.run_back(end, ALNUM, 3);
            if start < end && end - start < 3 && start >= window.from {
                self.take(Kind::Iban, start, iban::find(&window, start));
            }
        }
        if self.on(Kind::Ip) && window.before(end).is_some_and(|last| is(last, HEX)) {
            self.ip_v6_reaching(end);
        }
        if self.on(Kind::Phone) && end > window.from && matches!(window.before(end), Some(b'+' | b'(')) {
            self.take(Kind::Phone, end - 1, phone::find(&window, end - 1));
        }
    }

    fn custom(&mut self) {
        let window = self.window;
        let rules = self.rules;
        for (index, rule) in rules.rules.iter().enumerate() {
            let Some(pattern) = rule.pattern.as_ref().filter(|_| rule.action != Action::Off) else { continue };
            pattern.matches(&window, |start, end| self.add(index, start, end, None, true));
            if !window.open {
                continue;
            }
            match pattern.growing(&window) {
                Some(start) if window.len() - start <= pattern.max_length => self.hold(start),
                // Longer than the stream waits: as good as found.
                Some(start) if rule.action > Action::Report => self.add(index, start, window.len(), None, false),
                _ => {}
            }
        }
    }
}

/// Whether more than digits, or enough of them, stands where a number is thought to begin: most are short and alone.
fn number_begins(window: &Window, at: usize) -> bool {
    let bytes = window.bytes();
    let end = at + bytes[at..].iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
    let follows = match (bytes.get(end), bytes.get(end + 1)) {
        (Some(b' '), Some(after)) => after.is_ascii_digit() || matches!(after, b'-' | b'('),
        (Some(b'-' | b'.' | b'/'), Some(after)) => after.is_ascii_digit(),
        // Brackets, and separators beyond ASCII.
        (Some(b' ' | b'-' | b'.' | b'/' | b')' | 0xC2 | 0xE2) | None, _) => true,
        _ => false,
    };
    follows || end - at == 9 || window.before(at) == Some(b'+')
}
