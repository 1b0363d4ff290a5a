//! Scheduled exports: each period once, a while after its end; those that were missed, too, the oldest first.
//!
//! A file's name is its period's, so that whoever writes it again replaces it. Only one process writes a period at a time, and only one
//! says that it is written ([`crate::feeds`]).

use portcullis_core::Clock;
use portcullis_export::{Destination, ExportError, Period};
use portcullis_store::{Store, StoreError};

use crate::config::ExportConfig;
use crate::feeds::Desk;

/// What the names of exports begin with among all that goes outside.
pub const EXPORT: &str = "export:";
/// Periods that are written before the configuration is looked at again.
const AT_ONCE: usize = 20;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    pub file: String,
    pub rows: u64,
}

/// How an export that was run fared.
#[derive(Debug, Default)]
pub struct Ran {
    pub written: Vec<Exported>,
    /// Why it went no further.
    pub failed: Option<ExportError>,
    /// Another process is at it.
    pub elsewhere: bool,
}

/// Writes a period's file as it is now, without a word to the schedule.
///
/// # Errors
/// When the store does not answer or the destination does not take it.
pub async fn write(store: &Store, config: &ExportConfig, period: &Period) -> Result<Exported, ExportError> {
    let destination = Destination::open(&config.to, &config.s3.options())?;
    let written = config.export().write(store, period).await?;
    let file = config.file(period);
    destination.put(&file, written.file).await?;
    Ok(Exported { file, rows: written.rows })
}

/// Writes all periods that are due, however lately it failed.
///
/// # Errors
/// When the store does not answer.
pub async fn run(desk: &Desk, config: &ExportConfig) -> Result<Ran, StoreError> {
    let mut ran = Ran::default();
    while go_on(desk, config, u64::MAX, &mut ran).await? {}
    Ok(ran)
}

/// Writes some of those that are due.
pub(crate) async fn round(desk: &Desk, config: &ExportConfig) -> Result<(), StoreError> {
    let mut ran = Ran::default();
    while ran.written.len() < AT_ONCE && go_on(desk, config, desk.clock.now_ms(), &mut ran).await? {}
    Ok(())
}

/// Writes the next period, if it is due. `false` where there is nothing to go on with.
async fn go_on(desk: &Desk, config: &ExportConfig, due_ms: u64, ran: &mut Ran) -> Result<bool, StoreError> {
    let name = format!("{EXPORT}{}", config.name);
    let feed = desk.find(&name, config.begin_ms(desk.clock.now_ms())).await?;
    let now = desk.clock.now_ms();
    let due = config.due_ms(&config.period(feed.position));
    desk.meters.behind(&config.name, now.saturating_sub(due));
    if now < due || due_ms < feed.due_ms {
        return Ok(false);
    }
    let Some(feed) = desk.take(&name, due_ms).await? else {
        ran.elsewhere = true;
        return Ok(false);
    };
    // Another may have written it between the look and the taking.
    let period = config.period(feed.position);
    if desk.clock.now_ms() < config.due_ms(&period) {
        desk.release(&name).await?;
        return Ok(false);
    }
    let Some(written) = desk.with(&name, write(&desk.store, config, &period)).await else { return Ok(false) };
    match written {
        Ok(written) => {
            if desk.advance(&name, (feed.position, period.end_ms), 1).await? {
                desk.meters.delivered(&config.name, 1);
                tracing::info!(export = config.name, file = written.file, rows = written.rows, "an export was written");
                ran.written.push(written);
            }
            desk.release(&name).await?;
            Ok(true)
        }
        Err(error) => {
            desk.meters.failed(&config.name);
            let again_in = desk.fail(&feed, &error.to_string()).await?;
            tracing::warn!(%error, export = config.name, %period, ?again_in, "an export could not be written");
            ran.failed = Some(error);
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use portcullis_core::ManualClock;
    use portcullis_store::StoreOptions;

    use super::*;

    /// 2026-05-28T20:26:40Z.
    const NOW: u64 = 1_780_000_000_000;
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn config(to: &std::path::Path, more: &str) -> ExportConfig {
        let to = serde_json::Value::from(to.display().to_string());
        toml::from_str(&format!("name = \"a\"\nwhat = \"audit\"\nto = {to}\n{more}")).unwrap()
    }

    fn files(folder: &std::path::Path) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn periods_are_written_when_they_have_settled_and_made_up_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::at(folder.path().join("p.db"))).await.unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let desk = Desk::new(store, clock.clone());
        let out = folder.path().join("out");
        let config = config(&out, "settle_minutes = 10");
        round(&desk, &config).await.unwrap();
        assert!(files(&out).is_empty(), "the day is not over");
        let end = config.period(NOW).end_ms;
        clock.set(end + 599_999);
        round(&desk, &config).await.unwrap();
        assert!(files(&out).is_empty(), "it has not settled");
        clock.set(end + 600_000);
        round(&desk, &config).await.unwrap();
        assert_eq!(files(&out), ["a-2026-05-28.csv"]);
        // After two days in which nobody was there.
        clock.advance(2 * DAY_MS);
        round(&desk, &config).await.unwrap();
        assert_eq!(files(&out), ["a-2026-05-28.csv", "a-2026-05-29.csv", "a-2026-05-30.csv"]);
        let meter = &desk.meters.each()[0].1;
        assert_eq!((meter.pieces, meter.failures, meter.behind), (3, 0, 0));
    }

    #[tokio::test]
    async fn whoever_dies_with_an_export_in_hand_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::at(folder.path().join("p.db"))).await.unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let (dead, living) = (Desk::new(store.clone(), clock.clone()), Desk::new(store, clock.clone()));
        let out = folder.path().join("out");
        let config = config(&out, "since = \"2026-05-27\"\nsettle_minutes = 0");
        let feed = dead.find("export:a", config.begin_ms(NOW)).await.unwrap();
        dead.take("export:a", NOW).await.unwrap().unwrap();
        round(&living, &config).await.unwrap();
        assert!(files(&out).is_empty());
        assert!(run(&living, &config).await.unwrap().elsewhere);
        clock.advance(30_000);
        round(&living, &config).await.unwrap();
        assert_eq!(files(&out), ["a-2026-05-27.csv"]);
        // What the dead one still says is no longer heard.
        assert!(!dead.advance("export:a", (feed.position, NOW), 1).await.unwrap());
        assert_eq!(living.find("export:a", 0).await.unwrap().position, feed.position + DAY_MS);
    }

    #[tokio::test]
    async fn a_failure_waits_longer_each_time_and_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreOptions::at(folder.path().join("p.db"))).await.unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let desk = Desk::new(store, clock.clone());
        // A file stands where the folder should be.
        let out = folder.path().join("out");
        std::fs::write(&out, "in the way").unwrap();
        let config = config(&out, "since = \"2026-05-27\"\nsettle_minutes = 0");
        for (at, failures) in [(0, 1), (999, 1), (1_000, 2), (2_999, 2), (3_000, 3)] {
            clock.set(NOW + at);
            round(&desk, &config).await.unwrap();
            let feed = desk.find("export:a", 0).await.unwrap();
            assert_eq!((feed.failures, feed.error.is_some()), (failures, true), "after {at} ms");
        }
        std::fs::remove_file(&out).unwrap();
        // By hand nobody waits.
        let ran = run(&desk, &config).await.unwrap();
        assert_eq!((ran.written.len(), ran.failed.is_some()), (1, false));
        assert_eq!(desk.find("export:a", 0).await.unwrap().failures, 0);
    }
}
