//! Runs the scenarios: rounds of windows, gateway and bare proxy in turn.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use crate::cpus::Cores;
use crate::gateway::{Installation, REST};
use crate::goals::Goal;
use crate::latency::Schedule;
use crate::load::Load;
use crate::report::Row;
use crate::scenario::{Instances, Plugins, SMALL, Setup, Upstream, Work};
use crate::stats::median;
use crate::target::Target;
use crate::{bodies, goals, latency, upstream};

/// How thoroughly.
#[derive(Clone, Debug)]
pub struct Plan {
    pub rounds: u32,
    /// One measurement of one target.
    pub window: Duration,
    /// Only rows that have a goal.
    pub quick: bool,
    /// Only rows whose name contains this.
    pub only: Option<String>,
    /// Measure the bare proxy in the gateway's place: every ratio should come out as one.
    pub against_itself: bool,
}

/// Everything a run needs.
#[derive(Debug)]
pub struct Runner {
    pub plan: Plan,
    pub cores: Cores,
    pub upstream: upstream::Upstream,
    pub installation: Installation,
}

/// CPU microseconds per unit in each round, and how busy the process was.
pub(crate) struct Pair {
    gateway: Vec<f64>,
    bare: Vec<f64>,
    busy: f64,
}

impl Pair {
    /// The medians over the rounds; the ratio is that of each round's own.
    pub(crate) fn row(&self, name: String, goal: Option<Goal>) -> Result<Row> {
        let ratios: Vec<_> = self.gateway.iter().zip(&self.bare).map(|(gateway, bare)| gateway / bare).collect();
        let (gateway, bare) = (median(&self.gateway), median(&self.bare));
        let mut row = Row::ratio(name, gateway.context("no rounds")?, bare.context("no rounds")?, goal);
        row.ratio = median(&ratios);
        row.busy = Some(self.busy);
        Ok(row)
    }
}

impl Runner {
    /// Measures everything the plan asks for; `done` hears of each row as it is ready.
    ///
    /// # Errors
    /// A process does not start or a request fails.
    pub fn run(&self, mut done: impl FnMut(&Row)) -> Result<Vec<Row>> {
        let bare = Target::bare(&self.cores, self.upstream.address)?;
        let mut rows = Vec::new();
        let mut keep = |mut row: Row, rows: &mut Vec<Row>| {
            // The goals are the gateway's; the proxy against itself has none but to be its own equal.
            row.goal = row.goal.filter(|_| !self.plan.against_itself);
            done(&row);
            rows.push(row);
        };
        for setup in Setup::all() {
            let work: Vec<_> = setup.work().into_iter().filter(|work| self.wanted(setup, *work)).collect();
            if work.is_empty() {
                continue;
            }
            let gateway = self.target(setup)?;
            let idle = self.idle(setup, &gateway)?;
            for work in work {
                let measured = match work {
                    Work::Whole { .. } | Work::Burst { .. } => self.cpu_row(setup, work, &gateway, &bare),
                    Work::Latency => self.latency_rows(setup, &gateway, &bare),
                    Work::FirstToken => self.first_token(setup, &gateway, &bare),
                };
                for row in measured.with_context(|| format!("{setup}, {work}"))? {
                    keep(row, &mut rows);
                }
            }
            if let Some(idle) = idle {
                keep(idle, &mut rows);
                let after = megabytes(gateway.process.resident()?);
                keep(Row::number("resident after load, MB", after, None), &mut rows);
            }
        }
        for row in self.derived(&rows) {
            keep(row, &mut rows);
        }
        if let Some(row) = self.start_time()? {
            keep(row, &mut rows);
        }
        Ok(rows)
    }

    fn wanted(&self, setup: Setup, work: Work) -> bool {
        // What `--against-itself` measures knows no configurations: one stands for all.
        let first = Setup { upstream: Upstream::Same, plugins: Plugins::Content, instances: Instances::Warm };
        (!self.plan.quick || goals::counts(setup, work))
            && (!self.plan.against_itself || setup == first)
            && self.plan.only.as_ref().is_none_or(|only| format!("{setup}, {work}").contains(only.as_str()))
    }

    fn target(&self, setup: Setup) -> Result<Target> {
        if self.plan.against_itself {
            return Target::bare(&self.cores, self.upstream.address);
        }
        self.installation.start(setup, &[self.cores.measured], self.upstream.address).map(|(target, _)| target)
    }

    /// Idle memory is read once, where every plugin is loaded.
    fn idle(&self, setup: Setup, target: &Target) -> Result<Option<Row>> {
        let all = setup.instances == Instances::Warm && setup.plugins == Plugins::Content;
        if !all || setup.upstream != Upstream::Same || self.plan.against_itself {
            return Ok(None);
        }
        thread::sleep(REST);
        let resident = megabytes(target.process.resident()?);
        Ok(Some(Row::number("resident idle, MB", resident, Some(goals::RESIDENT))))
    }

    fn cpu_row(&self, setup: Setup, work: Work, gateway: &Target, bare: &Target) -> Result<Vec<Row>> {
        let units = if let Work::Burst { deltas } = work { f64::from(deltas) } else { 1.0 };
        let requests = [gateway, bare].map(|target| target.request(&work.body()));
        let pair = self.rounds(gateway, bare, requests, units, work.connections())?;
        let name = format!("{setup}, {work}: CPU µs");
        let mut row = pair.row(name, goals::ratio(setup, work))?;
        row.setup = Some((setup, work));
        Ok(vec![row])
    }

    /// Loads both in turn, each with its request.
    pub(crate) fn rounds(
        &self,
        gateway: &Target,
        bare: &Target,
        requests: [Vec<u8>; 2],
        units: f64,
        connections: usize,
    ) -> Result<Pair> {
        let [to_gateway, to_bare] = requests;
        let mut loads = [
            (gateway, Load::connect(gateway.address, to_gateway, connections)?),
            (bare, Load::connect(bare.address, to_bare, connections)?),
        ];
        for (_, load) in &mut loads {
            load.run(&self.upstream.thread, self.plan.window / 2)?;
        }
        let mut pair = Pair { gateway: Vec::new(), bare: Vec::new(), busy: 1.0 };
        for _ in 0..self.plan.rounds {
            for (index, (target, load)) in loads.iter_mut().enumerate() {
                let before = target.process.cpu()?;
                let started = std::time::Instant::now();
                let answered = load.run(&self.upstream.thread, self.plan.window)?;
                let wall = started.elapsed();
                let spent = target.process.cpu()? - before;
                let each = spent.as_secs_f64() * 1e6 / (answered as f64 * units);
                if index == 0 { &mut pair.gateway } else { &mut pair.bare }.push(each);
                pair.busy = pair.busy.min(spent.as_secs_f64() / wall.as_secs_f64());
            }
        }
        Ok(pair)
    }

    fn latency_rows(&self, setup: Setup, gateway: &Target, bare: &Target) -> Result<Vec<Row>> {
        let [gateway, bare, direct] = self.latencies(gateway, bare, &Work::Latency.body(), None, 400)?;
        let added = |percentile: f64| {
            let at = |histogram: &Histogram<u64>| histogram.value_at_percentile(percentile) as f64 / 1000.0;
            (at(&gateway) - at(&direct), at(&bare) - at(&direct))
        };
        Ok([("p50", added(50.0)), ("p99", added(99.0))]
            .map(|(name, (gateway, bare))| Row::ratio(format!("{setup}: added {name}, µs"), gateway, bare, None))
            .into())
    }

    fn first_token(&self, setup: Setup, gateway: &Target, bare: &Target) -> Result<Vec<Row>> {
        let [gateway, bare, direct] = self.latencies(gateway, bare, &Work::FirstToken.body(), Some(b" token"), 200)?;
        let at = |histogram: &Histogram<u64>| histogram.value_at_percentile(50.0) as f64 / 1000.0;
        let name = format!("{setup}: added to the first token, µs");
        let (gateway, bare) = (at(&gateway) - at(&direct), at(&bare) - at(&direct));
        Ok(vec![Row::ratio(name, gateway, bare, goals::ratio(setup, Work::FirstToken))])
    }

    /// Through the gateway, through the bare proxy, and straight to the upstream.
    fn latencies(
        &self,
        gateway: &Target,
        bare: &Target,
        body: &str,
        mark: Option<&'static [u8]>,
        rate: u32,
    ) -> Result<[Histogram<u64>; 3]> {
        let schedule = Schedule { connections: 4, rate, time: self.plan.window };
        let direct = bodies::request("/v1/chat/completions", Some("demo"), body);
        let targets = [
            (gateway.address, gateway.request(body)),
            (bare.address, bare.request(body)),
            (self.upstream.address, direct),
        ];
        let mut all = [Histogram::new(3)?, Histogram::new(3)?, Histogram::new(3)?];
        for _ in 0..self.plan.rounds {
            for ((address, request), histogram) in targets.iter().zip(&mut all) {
                histogram.add(latency::measure(*address, request, mark, schedule)?)?;
            }
        }
        Ok(all)
    }

    /// What follows from other rows: the price of fresh instances and of the guard.
    fn derived(&self, rows: &[Row]) -> Vec<Row> {
        let cpu = |plugins, instances| {
            let wanted = (Setup { upstream: Upstream::Same, plugins, instances }, Work::Whole { bytes: SMALL });
            rows.iter().find(|row| row.setup == Some(wanted)).map(|row| row.gateway)
        };
        let mut derived = Vec::new();
        let warm = cpu(Plugins::Content, Instances::Warm);
        if let (Some(warm), Some(fresh)) = (warm, cpu(Plugins::Content, Instances::Fresh)) {
            let setup = Setup { upstream: Upstream::Same, plugins: Plugins::Content, instances: Instances::Fresh };
            let each = (fresh - warm) / f64::from(setup.plugin_count());
            derived.push(Row::number("a fresh instance, each plugin, CPU µs", each, Some(goals::FRESH)));
        }
        if let (Some(guarded), Some(unguarded)) = (warm, cpu(Plugins::Metadata, Instances::Warm)) {
            let lost = 1.0 - unguarded / guarded;
            derived.push(Row::number("throughput lost to the guard, 1 KB", lost, Some(goals::GUARD_SHARE)));
        }
        derived
    }

    fn start_time(&self) -> Result<Option<Row>> {
        const NAME: &str = "start to the first 200, ms";
        if self.plan.against_itself || self.plan.only.as_ref().is_some_and(|only| !NAME.contains(only.as_str())) {
            return Ok(None);
        }
        let setup = Setup { upstream: Upstream::Same, plugins: Plugins::Content, instances: Instances::Warm };
        // The first start fills the code cache where no row before has.
        self.target(setup)?;
        let mut times = Vec::new();
        for _ in 0..self.plan.rounds.max(3) {
            let (_, taken) = self.installation.start(setup, &[self.cores.measured], self.upstream.address)?;
            times.push(taken.as_secs_f64() * 1000.0);
        }
        Ok(Some(Row::number(NAME, median(&times).context("no rounds")?, Some(goals::START))))
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
