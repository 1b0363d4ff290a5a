//! From candidates to a plan: who cannot, who should not now, and who first.
//!
//! Invariants: what lacks a needed capability or room is never ranked; what is cooling or open is not ranked while a ready one
//! is; equal candidates keep their order.

use std::cmp::Ordering;

use portcullis_plugin::prelude::{Breaker, Candidate, Features, Plan, Ranked, Rejected};

use crate::config::{Settings, Wishes};
use crate::demand::Demand;
use crate::score::{Measured, fixed, rounded, usd};

/// How fit for use a connection is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    /// Closed; or half-open and free for the request that tries it.
    Ready,
    /// Half-open, and a request is trying it already.
    OnTrial,
    /// Rate-limited for so many milliseconds more.
    Cooling(u64),
    /// The same behind an open breaker.
    Open(u64),
}

impl Standing {
    fn of(candidate: &Candidate) -> Self {
        match candidate.breaker {
            Breaker::Open => Standing::Open(candidate.cooling),
            _ if candidate.cooling > 0 => Standing::Cooling(candidate.cooling),
            Breaker::HalfOpen if candidate.in_flight > 0 => Standing::OnTrial,
            Breaker::HalfOpen | Breaker::Closed => Standing::Ready,
        }
    }

    /// Why it is left out while others are ready.
    fn rejection(self) -> Option<&'static str> {
        match self {
            Standing::Ready | Standing::OnTrial => None,
            Standing::Cooling(_) => Some("cooling"),
            Standing::Open(_) => Some("breaker-open"),
        }
    }
}

/// A candidate that can do it.
struct Able {
    index: u32,
    standing: Standing,
    /// Below the class's floor, or too short of breath for the expected answer: only when nothing else can be.
    makeshift: bool,
    measured: Measured,
}

impl Able {
    fn before(&self, other: &Able) -> Ordering {
        self.standing
            .cmp(&other.standing)
            .then(self.makeshift.cmp(&other.makeshift))
            .then(other.measured.score.total_cmp(&self.measured.score))
            // Where a weight is zero, what it weighs still decides between equals.
            .then(self.measured.cost.cmp(&other.measured.cost))
            .then(other.measured.quality.total_cmp(&self.measured.quality))
            .then(self.measured.error_rate.total_cmp(&other.measured.error_rate))
            .then(self.measured.latency.total_cmp(&other.measured.latency))
            .then(self.index.cmp(&other.index))
    }
}

pub fn plan(features: &Features, wishes: &Wishes, settings: &Settings, candidates: &[Candidate]) -> Plan {
    let demand = Demand::of(features, wishes, settings);
    let mut able = Vec::with_capacity(candidates.len());
    let mut rejected = Vec::new();
    for (index, candidate) in (0_u32..).zip(candidates) {
        match unfit(candidate, &demand, settings.context_margin) {
            Some(code) => rejected.push(Rejected { candidate: index, code }),
            None => {
                let measured = Measured::of(candidate, &demand, settings, &wishes.weights);
                let short = candidate.max_output > 0 && demand.output > u64::from(candidate.max_output);
                let makeshift = short || measured.quality < demand.floor;
                able.push(Able { index, standing: Standing::of(candidate), makeshift, measured });
            }
        }
    }
    if able.iter().any(|able| able.standing == Standing::Ready) {
        able.retain(|able| match able.standing.rejection() {
            Some(code) => {
                rejected.push(Rejected { candidate: able.index, code: code.to_owned() });
                false
            }
            None => true,
        });
    }
    able.sort_by(Able::before);
    rejected.sort_by_key(|rejected| rejected.candidate);
    Plan {
        reason: reason(&demand, &able, &rejected),
        ranked: able
            .iter()
            .map(|able| Ranked {
                candidate: able.index,
                score: rounded(able.measured.score),
                factors: able.measured.factors(),
            })
            .collect(),
        rejected,
        strategy: format!("heuristic-{}", wishes.optimise.name()),
    }
}

/// Why a candidate cannot serve the request at all.
fn unfit(candidate: &Candidate, demand: &Demand, margin: u64) -> Option<String> {
    let lacks = |need: &&&str| !candidate.capabilities.iter().any(|capability| capability == **need);
    if let Some(need) = demand.needs.iter().find(lacks) {
        return Some(format!("lacks:{need}"));
    }
    // A model cannot be asked for more than its own limit, so no more of the context is kept free. 0 is unknown.
    let reserve = match u64::from(candidate.max_output) {
        0 => demand.reserve,
        most => demand.reserve.min(most),
    };
    let input = u128::from(demand.input) * u128::from(100 + margin) / 100;
    let too_small = candidate.context > 0 && input + u128::from(reserve) > u128::from(candidate.context);
    too_small.then(|| "context".to_owned())
}

/// The winner's numbers: `class=code quality=86 price_usd=0.0042 latency_ms=310 error_rate=0.00 score=0.741 next=0.655`.
fn reason(demand: &Demand, able: &[Able], rejected: &[Rejected]) -> String {
    let class = &demand.class.name;
    let Some(winner) = able.first() else {
        return format!("class={class} candidates={} able=0", rejected.len());
    };
    let Measured { cost, price_known, latency, latency_known, quality, quality_known, error_rate, score } =
        &winner.measured;
    let mut reason = String::with_capacity(128);
    let mut number = |name: &str, known: bool, write: &dyn Fn(&mut String)| {
        reason.push_str(name);
        if known { write(&mut reason) } else { reason.push_str("unknown") }
    };
    number("class=", true, &|into| into.push_str(class));
    number(" quality=", *quality_known, &|into| fixed(into, *quality, 0));
    number(" price_usd=", *price_known, &|into| into.push_str(&usd(*cost)));
    number(" latency_ms=", *latency_known, &|into| fixed(into, *latency, 0));
    number(" error_rate=", true, &|into| fixed(into, *error_rate, 2));
    number(" score=", true, &|into| fixed(into, *score, 3));
    if let Some(next) = able.get(1) {
        number(" next=", true, &|into| fixed(into, next.measured.score, 3));
    }
    match winner.standing {
        Standing::Ready => {}
        Standing::OnTrial => reason += " unhealthy=on-trial",
        Standing::Cooling(milliseconds) => reason += &format!(" unhealthy=cooling cooling_ms={milliseconds}"),
        Standing::Open(_) => reason += " unhealthy=breaker-open",
    }
    if winner.measured.quality < demand.floor {
        reason += &format!(" floor={:.0}", demand.floor);
    }
    reason
}
