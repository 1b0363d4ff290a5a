//! Stand-in while the toolchain is proven.
use portcullis_plugin::prelude::*;

struct NoNights;

impl Plugin for NoNights {
    type Config = NoConfig;
    fn manifest() -> Manifest {
        Manifest { stages: Stages::REQUEST, ..Manifest::new("policy-rules", "1.0.0", "refuses requests at night") }
    }
    fn configure(_: NoConfig) -> Result<Self, String> {
        Ok(NoNights)
    }
}

impl Policy for NoNights {
    fn evaluate_request(&self, context: &Context, _: &Subject, _: Option<&Request>) -> Result<PolicyVerdict, Failure> {
        let hour = context.now / 3_600_000 % 24;
        Ok(if hour < 6 { deny("policy.night", 403, "The office is closed.") } else { PolicyVerdict::Allow })
    }
}

portcullis_plugin::export!(NoNights: policy);
portcullis_plugin::golden_vectors!(NoNights: policy);
