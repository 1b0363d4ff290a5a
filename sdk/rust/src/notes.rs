//! What did not cross from one protocol to another, each once, as receipts tell it.

use crate::ir::Note;

/// Notes in the order they were made.
#[derive(Debug, Default)]
pub struct Notes(Vec<Note>);

impl Notes {
    /// One with a code of the contract's (`note` in `wit/types.wit`).
    pub fn add(&mut self, code: &str, subject: &str) {
        if !self.0.iter().any(|note| note.code == code && note.subject == subject) {
            self.0.push(Note::new(code, subject));
        }
    }

    /// The API has no place for it.
    pub fn dropped(&mut self, subject: &str) {
        self.add("dropped", subject);
    }

    /// What another provider wants to see again: a proof of its own, or something that is lost.
    pub fn foreign(&mut self, name: &str) {
        self.add(if name.ends_with("-signature") { "signature-dropped" } else { "dropped" }, name);
    }

    /// It crossed as something near.
    pub fn approximated(&mut self, subject: &str) {
        self.add("approximated", subject);
    }

    /// A number was moved into the range the API takes.
    pub fn clamped(&mut self, subject: &str) {
        self.add("clamped", subject);
    }

    /// As the contract has them.
    pub fn into_vec(self) -> Vec<Note> {
        self.0
    }
}
