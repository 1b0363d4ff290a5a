//! Payment card numbers: 13 to 19 digits of a known issuer with a valid check digit (ISO/IEC 7812), in one group or as
//! printed on cards.

use super::separator;
use crate::window::{Growing, Parsed, Window, is_word};

/// First and last prefix of an issuer, the number of their digits, and the lengths it issues as bits.
struct Issuer(u32, u32, usize, u32);

const fn lengths(first: u32, last: u32) -> u32 {
    (1 << (last + 1)) - (1 << first)
}

/// Issuer identification numbers of the networks (en.wikipedia.org/wiki/Payment_card_number).
const ISSUERS: &[Issuer] = &[
    // Visa
    Issuer(4, 4, 1, 1 << 13 | 1 << 16 | 1 << 19),
    // Mastercard
    Issuer(51, 55, 2, 1 << 16),
    Issuer(2221, 2720, 4, 1 << 16),
    // American Express
    Issuer(34, 34, 2, 1 << 15),
    Issuer(37, 37, 2, 1 << 15),
    // Discover
    Issuer(6011, 6011, 4, lengths(16, 19)),
    Issuer(644, 659, 3, lengths(16, 19)),
    // China UnionPay
    Issuer(62, 62, 2, lengths(16, 19)),
    // Diners Club
    Issuer(300, 305, 3, lengths(14, 19)),
    Issuer(3095, 3095, 4, lengths(14, 19)),
    Issuer(36, 36, 2, lengths(14, 19)),
    Issuer(38, 39, 2, lengths(14, 19)),
    // JCB
    Issuer(3528, 3589, 4, lengths(16, 19)),
    // Maestro
    Issuer(5018, 5018, 4, lengths(13, 19)),
    Issuer(5020, 5020, 4, lengths(13, 19)),
    Issuer(5038, 5038, 4, lengths(13, 19)),
    Issuer(5893, 5893, 4, lengths(13, 19)),
    Issuer(6304, 6304, 4, lengths(13, 19)),
    Issuer(6759, 6759, 4, lengths(13, 19)),
    Issuer(6761, 6763, 4, lengths(13, 19)),
    // Mir
    Issuer(2200, 2204, 4, lengths(16, 19)),
];

const MOST: usize = 19;

/// A card number whose first digit stands at `start`.
pub fn find(window: &Window, start: usize) -> Parsed {
    if window.in_word(start) || window.in_number(start) {
        return Ok(None);
    }
    let mut number = Number { digits: [0; MOST], count: 0 };
    let mut best = None;
    match read(window, start, &mut number, &mut best) {
        Err(Growing) if number.possible() => Err(Growing),
        _ => Ok(best),
    }
}

/// Reads on as long as the number may be one; `best` is where the longest one ends.
fn read(window: &Window, start: usize, number: &mut Number, best: &mut Option<usize>) -> Result<(), Growing> {
    let mut end = number.group(window, start)?;
    if number.count != 4 {
        if number.valid() && window.number_ends(end)? {
            *best = Some(end);
        }
        return Ok(());
    }
    // As printed: a group of four, then others, set apart alike. What follows a whole number is not of it.
    let mut sort = None;
    while let Some((found, next)) = separator::one(window, end)?
        && number.possible()
    {
        let before = number.count;
        if *sort.get_or_insert(found) != found {
            break;
        }
        end = number.group(window, next)?;
        if !(2..=7).contains(&(number.count - before)) {
            break;
        }
        if number.valid() && !window.at(end)?.is_some_and(is_word) {
            *best = Some(end);
        }
    }
    Ok(())
}

struct Number {
    digits: [u8; MOST],
    /// More than fit are counted once.
    count: usize,
}

impl Number {
    /// Reads the digits at `i`, up to one too many.
    fn group(&mut self, window: &Window, mut i: usize) -> Result<usize, Growing> {
        while self.count <= MOST {
            match window.at(i)? {
                Some(byte) if byte.is_ascii_digit() => {
                    if let Some(digit) = self.digits.get_mut(self.count) {
                        *digit = byte - b'0';
                    }
                    self.count += 1;
                    i += 1;
                }
                _ => break,
            }
        }
        Ok(i)
    }

    /// The lengths, as bits, of the issuers that the digits so far may name.
    fn lengths(&self) -> u32 {
        let known = self.count.min(4);
        let head = self.digits[..known].iter().fold(0, |head, &digit| head * 10 + u32::from(digit));
        ISSUERS.iter().fold(0, |lengths, &Issuer(first, last, width, issued)| {
            let (head, first, last) = if known >= width {
                (head / 10_u32.pow((known - width) as u32), first, last)
            } else {
                let unknown = 10_u32.pow((width - known) as u32);
                (head, first / unknown, last / unknown)
            };
            if (first..=last).contains(&head) { lengths | issued } else { lengths }
        })
    }

    fn possible(&self) -> bool {
        self.count <= MOST && self.lengths() >> self.count != 0
    }

    fn valid(&self) -> bool {
        (13..=MOST).contains(&self.count) && self.lengths() & 1 << self.count != 0 && luhn(&self.digits[..self.count])
    }
}

/// The check of ISO/IEC 7812, annex B.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match u32::from(digit) * (1 + place as u32 % 2) {
            doubled @ 10.. => doubled - 9,
            digit => digit,
        })
        .sum();
    sum.is_multiple_of(10)
}
