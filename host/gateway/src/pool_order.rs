//! Which of several connections of one provider a request goes to: one drawn by weight, healthy ones first, and then the others.

use rand::{Rng, RngExt};

use crate::catalog::Offer;
use crate::upstream::Breaker;

/// Leaves of offers that are the same model by the same provider's name one, and returns the others in their order: what is tried after
/// it. `now` is milliseconds since the Unix epoch.
pub(crate) fn draw(offers: Vec<Offer>, now: u64, rng: &mut (impl Rng + ?Sized)) -> (Vec<Offer>, Vec<Vec<Offer>>) {
    let mut pools: Vec<Vec<Offer>> = Vec::new();
    for offer in offers {
        let same = |pool: &Vec<Offer>| {
            let first = &pool[0];
            first.connection.name == offer.connection.name && first.name == offer.name
        };
        match pools.iter_mut().find(|pool| same(pool)) {
            Some(pool) => pool.push(offer),
            None => pools.push(vec![offer]),
        }
    }
    let mut heads = Vec::with_capacity(pools.len());
    let mut rest = Vec::with_capacity(pools.len());
    for mut pool in pools {
        if pool.len() > 1 {
            // Efraimidis and Spirakis, "Weighted random sampling with a reservoir": the least of -ln(u)/w is drawn by weight.
            pool.sort_by_cached_key(|offer| {
                let standing = offer.connection.health.standing(now);
                let ill = matches!(standing.breaker, Breaker::Open { .. }) || standing.cooling_ms > 0;
                let weight = offer.connection.weight;
                let lot = -rng.random_range(f64::MIN_POSITIVE..1.0).ln() / f64::from(weight.max(1));
                (ill, weight == 0, lot.to_bits())
            });
        }
        let mut pool = pool.into_iter();
        heads.extend(pool.next());
        rest.push(pool.collect());
    }
    (heads, rest)
}
