//! What a file of a period consists of, read from the store page by page.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom};

use portcullis_core::OrganisationId;
use portcullis_store::{AuditFilter, AuditPage, EntrySpan, RequestFilter, Store, UsageFilter, UsageGroup, UsageRow};

use crate::columns::{AUDIT, LEDGER, REQUESTS, audit_row, entry_row, request_row, usage_columns, usage_row};
use crate::error::ExportError;
use crate::period::Period;
use crate::sheet::{Format, Sheet};

/// Rows that are read at a time.
const PAGE: u32 = 1_000;

/// What is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Sums of the requests that came within the period. `tag` is whose values [`UsageGroup::Tag`] means.
    Usage { by: Vec<UsageGroup>, tag: Option<String> },
    /// The requests that came within the period, the newest first.
    Requests,
    /// Ends of reservations whose requests came within the period, then what was decided within it about others.
    Ledger,
    /// The audit trail's events of the period.
    Audit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    pub what: What,
    pub format: Format,
    /// Whose; `None` for everything.
    pub organisation: Option<OrganisationId>,
}

/// A file that is to be put somewhere.
#[derive(Debug)]
pub struct Written {
    /// At its beginning. It has no name, and is gone when it is closed.
    pub file: File,
    pub rows: u64,
}

struct Writing {
    sheet: Sheet<BufWriter<File>>,
    rows: u64,
}

impl Writing {
    fn row(&mut self, row: Vec<crate::Cell>) -> Result<(), ExportError> {
        self.rows += 1;
        self.sheet.row(row)
    }
}

impl Export {
    /// Writes what the store has of a period now. The same is written for as long as the store has the same.
    ///
    /// # Errors
    /// When the store does not answer, or there is no room for a temporary file.
    pub async fn write(&self, store: &Store, period: &Period) -> Result<Written, ExportError> {
        let columns = match &self.what {
            What::Usage { by, tag } => usage_columns(by, tag.as_deref()),
            What::Requests => REQUESTS.to_vec(),
            What::Ledger => LEDGER.to_vec(),
            What::Audit => AUDIT.to_vec(),
        };
        let file = BufWriter::new(tempfile::tempfile()?);
        let mut writing = Writing { sheet: Sheet::new(self.format, columns, file)?, rows: 0 };
        match &self.what {
            What::Usage { by, tag } => self.usage(store, period, (by, tag.as_deref()), &mut writing).await?,
            What::Requests => self.requests(store, period, &mut writing).await?,
            What::Ledger => self.ledger(store, period, &mut writing).await?,
            What::Audit => self.audit(store, period, &mut writing).await?,
        }
        let mut file = writing.sheet.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Written { file, rows: writing.rows })
    }

    async fn usage(
        &self,
        store: &Store,
        period: &Period,
        (by, tag): (&[UsageGroup], Option<&str>),
        into: &mut Writing,
    ) -> Result<(), ExportError> {
        let filter = |period: &Period, groups: Vec<UsageGroup>| UsageFilter {
            since_ms: Some(period.start_ms),
            until_ms: Some(period.end_ms),
            organisation: self.organisation,
            groups,
            tag: tag.map(str::to_owned),
            ..UsageFilter::default()
        };
        // Without groups there is one row over all; over no request there is none.
        let counted = |row: &UsageRow| row.requests > 0;
        if period.is_utc() || !by.contains(&UsageGroup::Day) {
            for row in store.usage(&filter(period, by.to_vec())).await?.into_iter().filter(counted) {
                into.row(usage_row(by, row))?;
            }
            return Ok(());
        }
        // Databases know UTC's days only: those of another zone are asked for one by one.
        let others: Vec<_> = by.iter().copied().filter(|group| *group != UsageGroup::Day).collect();
        for (name, day) in period.days() {
            for row in store.usage(&filter(&day, others.clone())).await?.into_iter().filter(counted) {
                into.row(usage_row(by, UsageRow { day: Some(name.clone()), ..row }))?;
            }
        }
        Ok(())
    }

    async fn requests(&self, store: &Store, period: &Period, into: &mut Writing) -> Result<(), ExportError> {
        let mut filter = RequestFilter {
            since_ms: Some(period.start_ms),
            until_ms: Some(period.end_ms),
            organisation: self.organisation,
            ..RequestFilter::default()
        };
        loop {
            let page = store.requests(&filter, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            filter.before = Some(last.id);
            for record in page {
                into.row(request_row(record))?;
            }
        }
    }

    async fn ledger(&self, store: &Store, period: &Period, into: &mut Writing) -> Result<(), ExportError> {
        let span = EntrySpan { organisation: self.organisation, since_ms: period.start_ms, until_ms: period.end_ms };
        let mut after = None;
        loop {
            let page = store.backend().entries_from(&span, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.request_id, last.attempt));
            for entry in page {
                into.row(entry_row(entry))?;
            }
        }
        for entry in store.backend().decisions(&span).await? {
            into.row(entry_row(entry))?;
        }
        Ok(())
    }

    async fn audit(&self, store: &Store, period: &Period, into: &mut Writing) -> Result<(), ExportError> {
        let filter = AuditFilter {
            organisation: self.organisation,
            since_ms: Some(period.start_ms),
            until_ms: Some(period.end_ms),
            ..AuditFilter::default()
        };
        let mut after = 0;
        loop {
            let page = store.audit_events(&filter, AuditPage::After(after, PAGE)).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.seq;
            for event in page {
                into.row(audit_row(event))?;
            }
        }
    }
}
