//! Allows, denies or constrains.
//!
//! A policy is asked at the [`Stages`](crate::manifest::Stages) its manifest names. The content is there only where the manifest asks for it
//! (`access: Access::READ`) and the operator did not take it away: be ready for `None`.
//!
//! ```
//! use portcullis_plugin::prelude::*;
//!
//! /// Trial accounts get short answers from one model.
//! struct Trial;
//!
//! impl Plugin for Trial {
//!     type Config = NoConfig;
//!     fn manifest() -> Manifest {
//!         Manifest { stages: Stages::REQUEST, ..Manifest::new("trial", "1.0.0", "limits trial accounts") }
//!     }
//!     fn configure(_: NoConfig) -> Result<Self, String> {
//!         Ok(Trial)
//!     }
//! }
//!
//! impl Policy for Trial {
//!     fn evaluate_request(&self, _: &Context, subject: &Subject, _: Option<&Request>) -> Result<PolicyVerdict, Failure> {
//!         if subject.caller.team.as_deref() != Some("trial") {
//!             return Ok(PolicyVerdict::Allow);
//!         }
//!         Ok(PolicyVerdict::Constrain(Constraints {
//!             models: Some(list(&["small-1"])),
//!             max_output_tokens: Some(500),
//!             ..Constraints::none()
//!         }))
//!     }
//! }
//!
//! portcullis_plugin::export!(Trial: policy);
//! ```

pub use crate::bindings::policy::exports::portcullis::plugin::policy::{
    Attempt, Constraints, Denial, Guest, Subject, Verdict,
};
use crate::ir::{Context, Failure, Request, Response, Usage};
use crate::{Exported, Instance, Plugin};

/// Decides on requests by their metadata and, where granted, their content. See `wit/policy.wit`. Name the stages you want in
/// the manifest: the others are not called.
pub trait Policy: Plugin {
    /// Before routing.
    fn evaluate_request(
        &self,
        _context: &Context,
        _subject: &Subject,
        _content: Option<&Request>,
    ) -> Result<Verdict, Failure> {
        Ok(Verdict::Allow)
    }

    /// Before each attempt, with its target. A target outside what is constrained is skipped; a denial ends the request.
    fn evaluate_target(&self, _context: &Context, _subject: &Subject, _attempt: &Attempt) -> Result<Verdict, Failure> {
        Ok(Verdict::Allow)
    }

    /// After the answer: a denial withholds a whole answer; on a stream it is recorded.
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

/// A refusal, with a code for the receipt, a status of 400 to 499 and a sentence for the client.
pub fn deny(code: &str, status: u16, message: impl Into<String>) -> Verdict {
    Verdict::Deny(Denial { code: code.to_owned(), status, message: message.into() })
}

impl Constraints {
    /// Constrains nothing: a start for struct update syntax.
    pub fn none() -> Self {
        Constraints {
            models: None,
            providers: None,
            regions: None,
            tools: None,
            max_output_tokens: None,
            guards: Vec::new(),
            tags: Vec::new(),
            extra: Vec::new(),
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
