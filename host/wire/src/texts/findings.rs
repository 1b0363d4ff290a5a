use std::collections::BTreeMap;
use std::ops::Range;

use super::{Finding, Hold};

/// Findings that do not fit the texts they are about: the guard that made them is faulty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpliceError {
    #[error("a finding or hold names text {0}, which was not shown")]
    NoText(u32),
    #[error("a finding or hold in text {text} at {start}..{end} is no range of it on character boundaries")]
    Range { text: u32, start: u32, end: u32 },
}

/// Findings by text, each text's by start.
pub(super) fn by_text(findings: &[Finding], texts: usize) -> Result<BTreeMap<u32, Vec<&Finding>>, SpliceError> {
    let mut grouped: BTreeMap<u32, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        if finding.text as usize >= texts {
            return Err(SpliceError::NoText(finding.text));
        }
        grouped.entry(finding.text).or_default().push(finding);
    }
    for group in grouped.values_mut() {
        group.sort_by_key(|finding| (finding.start, finding.end));
    }
    Ok(grouped)
}

/// The replacements for one text in order, none overlapping another (the earlier one wins) or the first `released` bytes.
pub(super) fn replacements<'f>(
    sorted: &[&'f Finding],
    content: &str,
    released: usize,
) -> Result<Vec<(Range<usize>, &'f str)>, SpliceError> {
    let mut out = Vec::with_capacity(sorted.len());
    let mut done = released;
    for finding in sorted {
        let range = finding.start as usize..finding.end as usize;
        if content.get(range.clone()).is_none() {
            return Err(SpliceError::Range { text: finding.text, start: finding.start, end: finding.end });
        }
        let Some(replacement) = &finding.replacement else { continue };
        let range = range.start.max(done)..range.end;
        if range.start < range.end {
            done = range.end;
            out.push((range, replacement.as_str()));
        }
    }
    Ok(out)
}

/// Where the text's earliest hold starts.
pub(super) fn hold(holds: &[Hold], text: u32, content: &str, released: usize) -> Result<Option<usize>, SpliceError> {
    let mut earliest = None;
    for hold in holds.iter().filter(|hold| hold.text == text) {
        let start = hold.start as usize;
        if !content.is_char_boundary(start) {
            return Err(SpliceError::Range { text, start: hold.start, end: hold.start });
        }
        let start = start.max(released);
        earliest = Some(earliest.map_or(start, |known: usize| known.min(start)));
    }
    Ok(earliest)
}

/// `content` with the replacements made.
pub(super) fn replaced(content: &str, replacements: &[(Range<usize>, &str)]) -> String {
    let mut out = String::with_capacity(content.len());
    let mut done = 0;
    for (range, replacement) in replacements {
        out.push_str(&content[done..range.start]);
        out.push_str(replacement);
        done = range.end;
    }
    out.push_str(&content[done..]);
    out
}
