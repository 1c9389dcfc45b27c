//! One job done in several ways, measured in turns: round after round each contender once, so that
//! whatever disturbs the machine disturbs them alike, and ratios are taken within a round.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use criterion::Criterion;
use impala::sinks::terminal::{ProgressLine, Show};
use serde::Serialize;

use crate::statistics::median;

/// How long to measure.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effort {
    /// Rounds of a contest, unless its time is up earlier.
    pub n_rounds: usize,
    /// Time of a contest, after which no further round begins.
    pub contest: Duration,
    /// Time of one contender in one round, for what is called again and again.
    pub turn: Duration,
    /// Hand-overs of one contender in one round.
    pub n_hand_overs: usize,
    /// How long a waiting process is watched.
    pub watch: Duration,
}

/// What a contender does in its turn.
pub enum Work<'a> {
    /// Calls of a function that does the job `n_ops` times; the figure is the mean time of one.
    Calls {
        /// Jobs a call, so that the call itself costs nothing beside them.
        n_ops: u32,
        /// The call.
        call: Box<dyn FnMut() + 'a>,
    },
    /// Something that measures itself: one number for each figure of the contest.
    Figures(Box<dyn FnMut(Effort) -> Result<Vec<f64>> + 'a>),
}

/// One way to do the job.
pub struct Contender<'a> {
    name: &'static str,
    work: Work<'a>,
}

impl<'a> Contender<'a> {
    /// A function that does the job once.
    pub fn call(name: &'static str, call: impl FnMut() + 'a) -> Self {
        Contender::calls(name, 1, call)
    }

    /// A function that does the job `n_ops` times.
    pub fn calls(name: &'static str, n_ops: u32, call: impl FnMut() + 'a) -> Self {
        Contender { name, work: Work::Calls { n_ops, call: Box::new(call) } }
    }

    /// Latencies in ns, of which median and 99th percentile are the figures.
    pub fn latencies(
        name: &'static str,
        mut sample: impl FnMut(usize) -> Result<Vec<u64>> + 'a,
    ) -> Self {
        Contender::figures(name, move |effort| {
            let mut sample = sample(effort.n_hand_overs)?;
            sample.sort_unstable();
            let at = |share: f64| sample[((sample.len() - 1) as f64 * share) as usize] as f64;
            Ok(vec![at(0.5), at(0.99)])
        })
    }

    /// Something that measures itself.
    pub fn figures(
        name: &'static str,
        measure: impl FnMut(Effort) -> Result<Vec<f64>> + 'a,
    ) -> Self {
        Contender { name, work: Work::Figures(Box::new(measure)) }
    }

    fn turn(&mut self, effort: Effort) -> Result<Vec<f64>> {
        match &mut self.work {
            Work::Figures(measure) => measure(effort),
            Work::Calls { n_ops, call } => {
                let (start, mut n) = (Instant::now(), 0_u32);
                while n == 0 || start.elapsed() < effort.turn {
                    call();
                    n += 1;
                }
                Ok(vec![start.elapsed().as_nanos() as f64 / f64::from(n) / f64::from(*n_ops)])
            }
        }
    }
}

/// A job, and the ways to do it: ours first.
pub struct Contest<'a> {
    /// Heading under which it stands.
    pub group: &'static str,
    /// What is done.
    pub job: String,
    /// Unit of all figures.
    pub unit: &'static str,
    /// What each turn yields, `""` where it is just one mean.
    pub figures: &'static [&'static str],
    /// What our first figure should not exceed.
    pub target: Option<f64>,
    /// Ours, then the alternatives.
    pub contenders: Vec<Contender<'a>>,
}

/// Median with the tenth and the ninetieth percentile.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        Spread { median: median(&values), p10: at(0.1), p90: at(0.9) }
    }
}

/// One figure of one contender.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub group: &'static str,
    pub job: String,
    pub figure: &'static str,
    pub contender: &'static str,
    pub unit: &'static str,
    pub value: Spread,
    /// Our cost over this contender's, of the same round; absent in our own row.
    pub ours_over_it: Option<Spread>,
    /// What the value should not exceed; only in our own row.
    pub target: Option<f64>,
    pub n_rounds: usize,
}

/// Contests of a whole run, to say how far it is; [`Bench::finish`] checks it.
const N_CONTESTS: usize = 24;

/// Runs contests and keeps their rows.
pub struct Bench {
    pub effort: Effort,
    pub rows: Vec<Row>,
    /// Where to send functions for a closer look, instead of comparing.
    criterion: Option<Criterion>,
    progress: ProgressLine,
    n_done: usize,
}

impl Bench {
    /// No contest yet.
    pub fn new(effort: Effort, criterion: Option<Criterion>) -> Self {
        let show = if criterion.is_some() { Show::Nothing } else { Show::on_stderr() };
        let progress = ProgressLine::new(show, "comparing", "contests", N_CONTESTS as u64);
        Bench { effort, rows: Vec::new(), criterion, progress, n_done: 0 }
    }

    /// Measures all contenders of a contest.
    ///
    /// # Errors
    /// What a contender fails with.
    pub fn run(&mut self, mut contest: Contest) -> Result<()> {
        self.progress.set(self.n_done as u64, &contest.job);
        self.n_done += 1;
        match &mut self.criterion {
            Some(criterion) => look_closely(criterion, contest),
            None => {
                let rounds = play(&mut contest, self.effort)?;
                self.rows.extend(rows(&contest, &rounds));
            }
        }
        Ok(())
    }

    /// After the last contest.
    ///
    /// # Errors
    /// If there were more or fewer than expected.
    pub fn finish(&self) -> Result<()> {
        self.progress.finish();
        let n_done = self.n_done;
        ensure!(n_done == N_CONTESTS, "{n_done} contests: N_CONTESTS says {N_CONTESTS}");
        Ok(())
    }
}

/// Every round: each contender's figures.
fn play(contest: &mut Contest, effort: Effort) -> Result<Vec<Vec<Vec<f64>>>> {
    let (start, mut rounds) = (Instant::now(), Vec::new());
    // A first round fills caches and buffers, and is forgotten; two are needed to see a spread.
    let n_warm_up = usize::from(effort.n_rounds > 1);
    let (fewest, most) = (effort.n_rounds.min(2) + n_warm_up, effort.n_rounds + n_warm_up);
    while rounds.len() < fewest || rounds.len() < most && start.elapsed() < effort.contest {
        let turns = contest.contenders.iter_mut().map(|contender| contender.turn(effort));
        rounds.push(turns.collect::<Result<Vec<_>>>()?);
    }
    Ok(rounds.split_off(n_warm_up))
}

fn rows(contest: &Contest, rounds: &[Vec<Vec<f64>>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (f, figure) in contest.figures.iter().enumerate() {
        for (c, contender) in contest.contenders.iter().enumerate() {
            let ratio = || Spread::of(rounds.iter().map(|turn| turn[0][f] / turn[c][f]).collect());
            rows.push(Row {
                group: contest.group,
                job: contest.job.clone(),
                figure,
                contender: contender.name,
                unit: contest.unit,
                value: Spread::of(rounds.iter().map(|turn| turn[c][f]).collect()),
                ours_over_it: (c > 0).then(ratio),
                target: contest.target.filter(|_| c == 0 && f == 0),
                n_rounds: rounds.len(),
            });
        }
    }
    rows
}

fn look_closely(criterion: &mut Criterion, contest: Contest) {
    let mut group = criterion.benchmark_group(contest.job);
    for contender in contest.contenders {
        if let Work::Calls { n_ops, mut call } = contender.work {
            group.throughput(criterion::Throughput::Elements(u64::from(n_ops)));
            group.bench_function(contender.name, |bencher| bencher.iter(&mut call));
        }
    }
    group.finish();
}
