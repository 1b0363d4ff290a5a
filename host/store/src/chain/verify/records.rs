//! Requests and receipts against the digests that their seals hold.

use std::collections::BTreeSet;

use super::{Fault, Learnt, Presence, Report, Stop};
use crate::chain::canonical::Digest;
use crate::chain::source::{ChainSource, Records, StoredSeal};

/// Ids that are looked for at once where somebody put records between.
const WINDOW: usize = 1 << 20;

pub(super) fn verify(source: &mut dyn ChainSource, report: &mut Report, learnt: &Learnt) -> Result<(), Stop> {
    let mut after = i64::MIN;
    while let Some(seal) = source.seal(after)? {
        after = seal.id;
        let unreadable = || Fault::new("record_seals", "it cannot be read").at(seal.chain, seal.seq);
        let mut rest = &seal.content[..];
        while !rest.is_empty() {
            let group = Group::read(&mut rest).ok_or_else(unreadable)?;
            check(source, &seal, &group, Records::Requests, &mut report.requests, learnt)?;
            check(source, &seal, &group, Records::Pages, &mut report.pages, learnt)?;
        }
    }
    for (of, presence) in [(Records::Requests, &mut report.requests), (Records::Pages, &mut report.pages)] {
        let count = source.count(of)?;
        presence.unsealed = count.unsalted;
        if let (Some(youngest), Some(first)) = (count.youngest_unsalted_ms, learnt.first_checkpoint_ms)
            && youngest > first
        {
            return Err(Fault::new(
                of.table(),
                format!("one of {youngest} ms has no salt, and is no older than the seals"),
            )
            .into());
        }
        if count.salted != presence.proven {
            return Err(stranger(source, of)?.into());
        }
    }
    Ok(())
}

/// One organisation's part of a seal.
struct Group {
    organisation: [u8; 16],
    requests: Vec<(u128, Digest)>,
    pages: Vec<(u128, Digest)>,
}

impl Group {
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let organisation = take(rest)?;
        let requests = digests(rest, |rest| take(rest).map(u128::from_be_bytes))?;
        let pages = digests(rest, |rest| take(rest).map(i64::from_be_bytes).and_then(|id| u128::try_from(id).ok()))?;
        Some(Self { organisation, requests, pages })
    }

    /// The oldest request's time, which its id was born with.
    fn oldest_ms(&self) -> u64 {
        self.requests.first().map_or(0, |(id, _)| time_ms(*id))
    }
}

fn time_ms(id: u128) -> u64 {
    u64::try_from(id >> 80).expect("48 bits")
}

fn digests(rest: &mut &[u8], id: impl Fn(&mut &[u8]) -> Option<u128>) -> Option<Vec<(u128, Digest)>> {
    let count = u32::from_be_bytes(take(rest)?);
    (0..count).map(|_| Some((id(rest)?, take(rest)?))).collect()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}

fn check(
    source: &mut dyn ChainSource,
    seal: &StoredSeal,
    group: &Group,
    of: Records,
    presence: &mut Presence,
    learnt: &Learnt,
) -> Result<(), Stop> {
    let sealed = match of {
        Records::Requests => &group.requests,
        Records::Pages => &group.pages,
    };
    let ids: Vec<u128> = sealed.iter().map(|(id, _)| *id).collect();
    let expired_ms = learnt.expired.get(&group.organisation).copied().unwrap_or(0);
    for ((id, digest), found) in sealed.iter().zip(source.digests(of, &ids)?) {
        let fault = |what: String| {
            let fault = Fault::new(of.table(), what).at(seal.chain, seal.seq);
            match of {
                Records::Requests => fault.of(Some(id.to_be_bytes())),
                Records::Pages => fault,
            }
        };
        let name = match of {
            Records::Requests => "it".to_owned(),
            Records::Pages => format!("page {id}"),
        };
        match found {
            Some(Ok(found)) if found == *digest => presence.proven += 1,
            Some(Ok(_)) => return Err(fault(format!("{name} was changed since it was written")).into()),
            Some(Err(column)) => {
                return Err(fault(format!("{name} has a {column} that is nothing that was ever written")).into());
            }
            None => {
                // A page goes with the youngest of its requests, all of which are of this group.
                let time_ms = match of {
                    Records::Requests => time_ms(*id),
                    Records::Pages => group.oldest_ms(),
                };
                if time_ms >= expired_ms {
                    return Err(fault(format!("{name} was deleted before it had expired")).into());
                }
                presence.expired += 1;
            }
        }
    }
    Ok(())
}

/// There are more records than seals hold: which is the first that no seal holds.
fn stranger(source: &mut dyn ChainSource, of: Records) -> Result<Fault, Stop> {
    let mut after = None;
    loop {
        let ids = source.ids(of, after, WINDOW)?;
        let (Some(&first), Some(&last)) = (ids.first(), ids.last()) else {
            return Ok(Fault::new(of.table(), "it holds more than was written"));
        };
        let mut unknown: BTreeSet<u128> = ids.into_iter().collect();
        let mut read = i64::MIN;
        while let Some(seal) = source.seal(read)? {
            read = seal.id;
            let mut rest = &seal.content[..];
            while let Some(group) = (!rest.is_empty()).then(|| Group::read(&mut rest)).flatten() {
                let sealed = match of {
                    Records::Requests => group.requests,
                    Records::Pages => group.pages,
                };
                for (id, _) in sealed.into_iter().filter(|(id, _)| (first..=last).contains(id)) {
                    unknown.remove(&id);
                }
            }
        }
        if let Some(id) = unknown.first() {
            let (request, name) = match of {
                Records::Requests => (Some(id.to_be_bytes()), "it".to_owned()),
                Records::Pages => (None, format!("page {id}")),
            };
            return Ok(Fault::new(of.table(), format!("{name} was put there: no seal holds it")).of(request));
        }
        after = Some(last);
    }
}
