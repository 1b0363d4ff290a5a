//! Every chain from its first link to its last, against its rows, its checkpoints and the table of heads.

use super::{AUDIT, BEFORE, Fault, Learnt, Report, Stop};
use crate::chain::canonical::{self, Pinned};
use crate::chain::seal::Head;
use crate::chain::source::{ChainSource, Links, StoredLink};
use crate::error::StoreError;

/// One kind of link, looked at before it is taken.
struct Ahead {
    of: Links,
    link: StoredLink,
    some: bool,
}

impl Ahead {
    fn next(&mut self, source: &mut dyn ChainSource) -> Result<(), StoreError> {
        self.some = source.link(self.of, &mut self.link)?;
        Ok(())
    }
}

pub(super) fn verify(source: &mut dyn ChainSource, report: &mut Report, learnt: &mut Learnt) -> Result<(), Stop> {
    let mut kinds = Links::ALL.map(|of| Ahead { of, link: StoredLink::default(), some: true });
    for kind in &mut kinds {
        kind.next(source)?;
    }
    let heads = source.heads()?;
    let mut heads = heads.iter().peekable();
    let mut pin = source.pin()?;
    let mut pins = 0;
    loop {
        let chain = kinds
            .iter()
            .filter(|kind| kind.some)
            .map(|kind| kind.link.chain)
            .chain(heads.peek().map(|head| head.chain))
            .chain(pin.map(|(pin, _)| pin.chain))
            .min();
        let Some(chain) = chain else { break };
        let mut walk = Walk { chain, head: Head::start(&chain), pinned: 0, closed: false, hashed: false };
        loop {
            let next = kinds
                .iter_mut()
                .filter(|kind| kind.some && kind.link.chain == chain)
                .min_by_key(|kind| (kind.link.seq, kind.of as u8));
            let Some(kind) = next else { break };
            walk.link(kind)?;
            while let Some((at, checkpoint)) = pin.filter(|(pin, _)| pin.chain == chain && pin.seq <= walk.head.seq) {
                walk.pin(&at, checkpoint, kind.of.table())?;
                pins += 1;
                pin = source.pin()?;
            }
            match kind.of {
                Links::Unchained | Links::Entries => report.entries += 1,
                Links::Seals => report.seals += 1,
                Links::Events => report.events += 1,
            }
            if let Some((organisation, before_ms)) = kind.link.expired {
                let known = learnt.expired.entry(organisation).or_default();
                *known = before_ms.max(*known);
            }
            kind.next(source)?;
        }
        if let Some((at, checkpoint)) = pin.filter(|(pin, _)| pin.chain == chain) {
            let what = format!(
                "the chain was cut off: it ends with {}, and checkpoint {checkpoint} signed {} links",
                walk.head.seq, at.seq
            );
            return Err(walk.fault("ledger_entries", walk.head.seq + 1, what).into());
        }
        walk.end(heads.next_if(|head| head.chain == chain))?;
        report.chains += 1;
        report.unsigned += (walk.head.seq - walk.pinned).unsigned_abs();
    }
    if pins != learnt.joined {
        return Err(Fault::new("checkpoint_heads", "one belongs to no checkpoint").into());
    }
    Ok(())
}

struct Walk {
    chain: [u8; 16],
    head: Head,
    /// As far as a checkpoint has agreed.
    pinned: i64,
    closed: bool,
    /// Whether a link had a hash of its own.
    hashed: bool,
}

impl Walk {
    fn fault(&self, table: &'static str, seq: i64, what: impl Into<String>) -> Fault {
        let table = if self.chain == AUDIT { "audit_events" } else { table };
        Fault::new(table, what).at(self.chain, seq)
    }

    fn link(&mut self, Ahead { of, link, .. }: &Ahead) -> Result<(), Fault> {
        let due = self.head.seq + 1;
        let seq = if *of == Links::Unchained { due } else { link.seq };
        let fault = |what: String| self.fault(of.table(), seq, what).of(link.request);
        if let Some(column) = &link.malformed {
            return Err(fault(format!("its {column} is nothing that was ever written")));
        }
        if seq < due {
            return Err(fault("it stands at a place that is another's".into()));
        }
        if seq > due {
            let what = if seq == due + 1 {
                "it is missing".into()
            } else {
                format!("it is missing, and so is every one up to {}", seq - 1)
            };
            return Err(self.fault(of.table(), due, what));
        }
        if self.closed {
            return Err(fault("it was added after the chain had ended".into()));
        }
        let hash = canonical::link(of.tag(), &self.head.hash, seq, link.body.as_slice());
        match link.hash {
            Some(stored) if stored != hash => {
                return Err(fault(
                    "it was changed, exchanged or put there: its hash is not that of what it says".into(),
                ));
            }
            Some(_) => self.hashed = true,
            // Events from before there were chains have none; those after them hold it fast.
            None if *of == Links::Unchained || (*of == Links::Events && !self.hashed) => {}
            None => return Err(fault("it has no hash".into())),
        }
        self.head = Head { seq, hash };
        Ok(())
    }

    fn pin(&mut self, pin: &Pinned, checkpoint: i64, table: &'static str) -> Result<(), Fault> {
        if pin.hash != self.head.hash || pin.seq != self.head.seq {
            let what = format!(
                "the chain was written anew: checkpoint {checkpoint} signed something else for the links {} to {}",
                self.pinned + 1,
                pin.seq
            );
            return Err(self.fault(table, self.pinned + 1, what));
        }
        self.pinned = pin.seq;
        self.closed |= pin.closed;
        Ok(())
    }

    fn end(&self, stored: Option<&Pinned>) -> Result<(), Fault> {
        let Head { seq, hash } = self.head;
        let table = if self.chain == BEFORE { "ledger_entries" } else { "chains" };
        match stored {
            Some(stored) if stored.seq > seq => {
                let what = format!("the chain was cut off: it ends with {seq} and had {} links", stored.seq);
                Err(self.fault("ledger_entries", seq + 1, what))
            }
            Some(stored) if stored.seq < seq => {
                Err(self.fault("ledger_entries", stored.seq + 1, "it was put there: the chain ends before it"))
            }
            Some(stored) if stored.hash == hash => Ok(()),
            Some(_) if self.chain == BEFORE => {
                Err(Fault::new(table, "one of the entries from before there were chains was changed")
                    .at(self.chain, seq))
            }
            Some(_) => Err(Fault::new(table, "its hash is not that of the last link").at(self.chain, seq)),
            None => Err(Fault::new(table, "nothing is known of this chain").at(self.chain, 1)),
        }
    }
}
