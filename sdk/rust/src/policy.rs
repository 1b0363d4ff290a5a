//! Allows, denies or constrains.

pub use crate::bindings::policy::exports::portcullis::plugin::policy::{
    Attempt, Constraints, Denial, Guest, Subject, Verdict,
};
use crate::ir::{Context, Failure, Request, Response, Usage};
use crate::{Exported, Instance, Plugin};

/// Decides on requests by their metadata and, where granted, their content. See `wit/policy.wit`. Name the stages you want in
/// the manifest: the others are not called.
pub trait Policy: Plugin {
    fn evaluate_request(
        &self,
        _context: &Context,
        _subject: &Subject,
        _content: Option<&Request>,
    ) -> Result<Verdict, Failure> {
        Ok(Verdict::Allow)
    }

    fn evaluate_target(&self, _context: &Context, _subject: &Subject, _attempt: &Attempt) -> Result<Verdict, Failure> {
        Ok(Verdict::Allow)
    }

    fn evaluate_response(
        &self,
        _context: &Context,
        _subject: &Subject,
        _attempt: &Attempt,
        _usage: Option<&Usage>,
        _content: Option<&Response>,
    ) -> Result<Verdict, Failure> {
        Ok(Verdict::Allow)
    }
}

/// A refusal with a code for the receipt, a status of 400 to 499 and a sentence for the client.
pub fn deny(code: &str, status: u16, message: impl Into<String>) -> Verdict {
    Verdict::Deny(Denial { code: code.to_owned(), status, message: message.into() })
}

impl Constraints {
    /// Constrains nothing.
    pub fn none() -> Self {
        Constraints {
            models: None,
            providers: None,
            regions: None,
            tools: None,
            max_output_tokens: None,
            guards: Vec::new(),
            tags: Vec::new(),
        }
    }
}

impl<P: Policy + Instance> Guest for Exported<P> {
    fn evaluate_request(context: Context, subject: Subject, content: Option<Request>) -> Result<Verdict, Failure> {
        P::instance().evaluate_request(&context, &subject, content.as_ref())
    }

    fn evaluate_target(context: Context, subject: Subject, attempt: Attempt) -> Result<Verdict, Failure> {
        P::instance().evaluate_target(&context, &subject, &attempt)
    }

    fn evaluate_response(
        context: Context,
        subject: Subject,
        attempt: Attempt,
        usage: Option<Usage>,
        content: Option<Response>,
    ) -> Result<Verdict, Failure> {
        P::instance().evaluate_response(&context, &subject, &attempt, usage.as_ref(), content.as_ref())
    }
}
