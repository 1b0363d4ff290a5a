//! Checkpoints against each other, their signatures, and what was anchored.

use std::collections::BTreeMap;

use super::{Fault, Learnt, Report, Signers, Stop, Verification};
use crate::chain::checkpoint::{Anchor, Newest};
use crate::chain::source::ChainSource;

pub(super) fn verify(
    source: &mut dyn ChainSource,
    given: &Verification,
    report: &mut Report,
    learnt: &mut Learnt,
) -> Result<(), Stop> {
    let fault = |number: i64, what: String| Fault { seq: Some(number), ..Fault::new("checkpoints", what) };
    let mut anchors: BTreeMap<i64, Vec<&Anchor>> = BTreeMap::new();
    for anchor in &given.anchors {
        anchors.entry(anchor.checkpoint).or_default().push(anchor);
    }
    let mut signers = Signers::new(&given.trusted);
    let Newest { mut number, mut hash, .. } = Newest::NONE;
    while let Some(checkpoint) = source.checkpoint()? {
        if checkpoint.number != number + 1 {
            return Err(fault(number + 1, "it is missing".into()).into());
        }
        number = checkpoint.number;
        if checkpoint.previous != hash {
            return Err(fault(number, "it does not go on from the checkpoint before it".into()).into());
        }
        if checkpoint.hashed() != checkpoint.hash {
            return Err(fault(number, "it was changed, or the heads it joins were".into()).into());
        }
        if !checkpoint.public_key.verifies(&checkpoint.hash, &checkpoint.signature) {
            return Err(fault(number, "its signature is false".into()).into());
        }
        if let Some(what) = signers.next(&checkpoint) {
            return Err(fault(number, what).into());
        }
        for anchor in anchors.remove(&number).into_iter().flatten() {
            if anchor.hash != checkpoint.hash {
                return Err(fault(number, "it is not the one that was anchored outside".into()).into());
            }
            report.anchors += 1;
        }
        hash = checkpoint.hash;
        learnt.joined += checkpoint.heads.len();
        learnt.first_checkpoint_ms.get_or_insert(checkpoint.time_ms);
        if report.keys.last() != Some(&checkpoint.public_key) {
            report.keys.push(checkpoint.public_key);
        }
        report.checkpoints += 1;
        report.newest = Some(checkpoint.anchor());
    }
    if let Some((&anchored, _)) = anchors.first_key_value() {
        let what = format!("it is missing: {anchored} was anchored outside, and the last one here is {number}");
        return Err(fault(number + 1, what).into());
    }
    if !signers.trusted_signed {
        let what = if number == 0 {
            "there is none: nothing was signed yet, or all were deleted"
        } else {
            "none is signed by a trusted key"
        };
        return Err(Fault::new("checkpoints", what).into());
    }
    Ok(())
}
