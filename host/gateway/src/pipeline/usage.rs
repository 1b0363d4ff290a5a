//! Usage between the contract's record and the ledger's, which hold the same numbers.

use portcullis_core::{Metered, PicoUsd, UnitCount, Usage};
use portcullis_runtime::contract::chat;

/// As the ledger has it. A member that the contract gains does not compile until it is here.
pub(super) fn usage_of(usage: &chat::Usage) -> Metered {
    let chat::Usage {
        input,
        cache_read,
        cache_write_short,
        cache_write_long,
        output,
        reasoning,
        audio_input,
        audio_output,
        images,
        searches,
        estimated,
        units,
        service_tier,
        stated_cost,
    } = usage;
    let units = units.iter().map(|counted| UnitCount { unit: counted.unit.clone(), count: counted.count });
    Metered {
        usage: Usage {
            input: *input,
            cache_read: *cache_read,
            cache_write_short: *cache_write_short,
            cache_write_long: *cache_write_long,
            output: *output,
            reasoning: *reasoning,
            audio_input: *audio_input,
            audio_output: *audio_output,
            images: *images,
            searches: *searches,
            estimated: *estimated,
        },
        units: units.collect(),
        service_tier: service_tier.clone(),
        stated: stated_cost.map(PicoUsd::new),
    }
}

/// As plugins are told.
pub(super) fn wire_usage(metered: &Metered) -> chat::Usage {
    let Metered { usage, units, service_tier, stated } = metered;
    let Usage {
        input,
        cache_read,
        cache_write_short,
        cache_write_long,
        output,
        reasoning,
        audio_input,
        audio_output,
        images,
        searches,
        estimated,
    } = *usage;
    let units = units.iter().map(|counted| chat::UnitCount { unit: counted.unit.clone(), count: counted.count });
    chat::Usage {
        input,
        cache_read,
        cache_write_short,
        cache_write_long,
        output,
        reasoning,
        audio_input,
        audio_output,
        images,
        searches,
        estimated,
        units: units.collect(),
        service_tier: service_tier.clone(),
        stated_cost: stated.and_then(|stated| u64::try_from(stated.get()).ok()),
    }
}
