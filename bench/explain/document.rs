//! The document and its tables: which figures stand where. The prose around them is the templates'.

use std::path::Path;

use anyhow::Result;
use askama::Template;

use super::figure::figure;
use super::results::{Case, InstructionSet, Kernel, Machine, Setting, Spread, Throughput};
use super::roofline;
use super::table::Table;

/// What a figure that the template names cannot be found as.
type Said = askama::Result<String>;

/// Where the benchmark's short runs stand.
pub const SETTINGS: &str = "ablations: settings";
pub const EXCHANGED: &str = "ablations: alternatives in bench/";

/// The stages of one update, in their order.
pub const STAGES: [&str; 10] = [
    "wait",
    "batching",
    "forward",
    "vtrace",
    "backward",
    "turn",
    "optimizer",
    "publish",
    "release",
    "report",
];

/// `docs/throughput.md`.
#[derive(Template)]
#[template(path = "throughput.md", config = "bench/explain/askama.toml")]
pub struct Document {
    /// The machine whose figures the text explains.
    pub now: Machine,
    /// The others, each measured at a commit of its own.
    pub others: Vec<Machine>,
}

/// `results/bench/throughput.md`: what the document's figures are taken from, for every machine.
#[derive(Template)]
#[template(path = "tables.md", config = "bench/explain/askama.toml")]
struct Tables<'a> {
    of: &'a Document,
}

/// What the text calls a machine, and how the names of its files end. The first is the one explained.
const MACHINES: [(&str, &str); 4] = [
    ("EPYC, bf16", "bf16"),
    ("EPYC, AVX-512", "avx512-zen5"),
    ("EPYC, AVX2", "avx2"),
    ("Xeon, AVX-512", "avx512"),
];

impl Document {
    /// Reads all results.
    ///
    /// # Errors
    /// If a file is missing or is not what the benchmarks write.
    pub fn read(results: &Path) -> Result<Self> {
        let read = |(label, ending)| Machine::read(results, label, ending);
        let [now, others @ ..] = MACHINES;
        let others = others.into_iter().map(read).collect::<Result<_>>()?;
        Ok(Document { now: read(now)?, others })
    }

    /// All of them, the one explained first.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        std::iter::once(&self.now).chain(&self.others)
    }

    /// The rendered text.
    ///
    /// # Errors
    /// If a figure was not measured.
    pub fn text(&self) -> Result<String> {
        Ok(self.render()? + "\n")
    }

    /// The tables beside one another, rendered.
    ///
    /// # Errors
    /// If a figure was not measured.
    pub fn tables(&self) -> Result<String> {
        Ok(Tables { of: self }.render()? + "\n")
    }

    /// A line about each file of each machine, and how busy that was with other things.
    fn settings(&self) -> String {
        let lines = self.machines().flat_map(|machine| {
            let Machine { label, throughput, headline, ablations, .. } = machine;
            let rest = match (headline, ablations) {
                (None, _) => "",
                (Some(_), None) => ", methods and scaling",
                (Some(_), Some(_)) => ", scaling",
            };
            let all = [
                (headline.as_ref(), ""),
                (Some(throughput), rest),
                (ablations.as_ref(), ", methods"),
            ];
            let all = all.into_iter().filter_map(|(measured, what)| Some((measured?, what)));
            all.map(move |(measured, what)| format!("- {label}{what}: {}", self.setting(measured)))
        });
        Vec::from_iter(lines).join("\n")
    }

    fn setting(&self, measured: &Throughput) -> String {
        let Throughput { setting, load_after, .. } = measured;
        let Setting { commit, cpu, n_cores, started, load_before, .. } = setting;
        let commit = commit.get(..12).unwrap_or(commit);
        let day = started.get(..10).unwrap_or(started);
        let others = measured.others_percent();
        format!(
            "{cpu}, {n_cores} cores, commit {commit}, {day}, load {load_before:.2} before and \
             {load_after:.2} after, other processes took at most {others:.0} % of the cores in the \
             runs of the default"
        )
    }

    /// The main figures of all machines.
    fn headline(&self) -> Said {
        let whole = "frames consumed by learning";
        let rows = [
            ("end to end: the defaults, M frames/s", WHOLE, whole),
            ("end to end, 1 learner thread, M frames/s", ONE_THREAD, whole),
            ("engine speed: 32 slots a batch, M frames/s", "engine speed: 32 slots a batch", whole),
            ("end to end through libtorch, M frames/s", "end to end, torch", whole),
            ("actor alone, one core, M frames/s", PARTS, "actor only"),
            ("learner alone, one core, M frames/s", PARTS, "learner only, native"),
            ("environment alone, one core, M frames/s", PARTS, "environment only"),
            ("policy lag, mean, updates", WHOLE, "policy lag, mean"),
            ("the same with 1 learner thread", ONE_THREAD, "policy lag, mean"),
            ("memory of all processes (PSS), MB", WHOLE, MEMORY),
            ("the same with 1 learner thread", ONE_THREAD, MEMORY),
            ("start of the process to the first rollout, ms", START, FIRST_ROLLOUT),
        ];
        let mut table = Table::new(self.head(&[""], |label| label.into()));
        for (name, group, row) in rows {
            let spreads = Vec::from_iter(self.machines().map(|machine| machine.row(group, row)));
            spreads.iter().flatten().next().ok_or_else(|| missing(group, row))?;
            let cells = spreads.into_iter().map(|spread| spread.map_or(dash(), with_range));
            table.push([name.into()].into_iter().chain(cells));
        }
        Ok(table.text())
    }

    /// What each method is worth: the speed without it by the speed with it.
    fn worth(&self) -> Said {
        let mut table = Table::new(self.head(&["method", "instead"], |label| label.into()));
        for (method, group, instead) in WORTH {
            self.now.case(group, instead).ok_or_else(|| missing(group, instead))?;
            let cells = self.machines().map(|machine| machine.case(group, instead));
            let cells = cells.map(|case| case.map_or(dash(), of_default));
            table.push([method.into(), instead.into()].into_iter().chain(cells));
        }
        let portable = |machine: &Machine| {
            let name = format!("kernels: portable, not {}", machine.simd());
            let case = machine.case(SETTINGS, &name);
            case.map(of_default).ok_or_else(|| missing(SETTINGS, &name))
        };
        let names = ["kernels by hand".into(), "kernels: portable".into()];
        let cells = self.machines().map(portable).collect::<askama::Result<Vec<_>>>()?;
        table.push(names.into_iter().chain(cells));
        Ok(table.text())
    }

    /// The head of a table: columns of its own, then one for each machine.
    fn head(&self, own: &[&str], title: impl Fn(&str) -> String) -> Vec<String> {
        with_titles(own, self.machines().map(|machine| title(machine.label)))
    }

    /// Short runs of one group beside each other.
    fn compare(&self, group: &str, names: &[&str]) -> Said {
        let own = ["", "M frames/s", "min – max", "CPU s/M frames", "policy lag"];
        let mut table = Table::new(self.head(&own, |label| format!("of default: {label}")));
        for name in names {
            let now = self.now.case(group, name).ok_or_else(|| missing(group, name))?;
            let own = [
                (*name).into(),
                figure(now.m_frames_per_s.median),
                range(now.m_frames_per_s),
                figure(now.cpu_s_per_m_frames.median),
                figure(now.policy_lag.median),
            ];
            let cases = self.machines().map(|machine| machine.case(group, name));
            let of_default = |case: &Case| format!("× {:.2}", case.of_default.median);
            table.push(own.into_iter().chain(cases.map(|case| case.map_or(dash(), of_default))));
        }
        Ok(table.text())
    }

    /// One quantity of the whole or its parts, as `median`.
    fn row(&self, group: &str, name: &str) -> Said {
        let row = self.now.row(group, name).ok_or_else(|| missing(group, name))?;
        Ok(figure(row.median))
    }

    /// The same of the machine beside it, which is of the same kind: an earlier commit's, in f32.
    fn earlier(&self, group: &str, name: &str) -> Said {
        let row = self.others.first().and_then(|machine| machine.row(group, name));
        Ok(figure(row.ok_or_else(|| missing(group, name))?.median))
    }

    /// The commit of those figures.
    fn earlier_commit(&self) -> Said {
        let earlier = self.others.first().and_then(|machine| machine.headline.as_ref());
        let commit = &earlier.ok_or_else(|| missing("headline", "commit"))?.setting.commit;
        Ok(commit.get(..12).unwrap_or(commit).to_owned())
    }

    /// What switching a method off does to the speed, in words.
    fn effect(&self, group: &str, name: &str) -> Said {
        let case = self.now.case(group, name).ok_or_else(|| missing(group, name))?;
        let (median, [low, high]) = (case.of_default.median, case.of_default.interval());
        let percent = 100.0 * (median - 1.0).abs();
        Ok(match median {
            _ if low <= 1.0 && high >= 1.0 => {
                format!("not distinguishable ({low:.2} – {high:.2})")
            }
            _ if median < 1.0 => format!("{percent:.0} % slower"),
            _ => format!("{percent:.0} % faster"),
        })
    }

    /// Costs of parts in several ways, µs.
    fn parts(&self, rows: &[(&str, &str, &str)]) -> Said {
        let mut table = Table::new(self.head(&["", "way"], |label| label.into()));
        for (job, quantile, way) in rows {
            self.now.micro_ns(job, quantile, way).ok_or_else(|| missing(job, way))?;
            let comma = if quantile.is_empty() { "" } else { ", " };
            let own = [format!("{job}{comma}{quantile}"), (*way).into()];
            let costs = self.machines().map(|machine| machine.micro_ns(job, quantile, way));
            table.push(own.into_iter().chain(costs.map(|cost| cost.map_or(dash(), micros))));
        }
        Ok(table.text())
    }

    /// One such cost.
    fn cost(&self, job: &str, quantile: &str, way: &str) -> Said {
        self.now.micro_ns(job, quantile, way).map(micros).ok_or_else(|| missing(job, way))
    }

    /// The mean times of some stages of an update, µs.
    fn means(&self, stages: &[&str]) -> askama::Result<Vec<f64>> {
        let mean = |stage: &&str| {
            let name = format!("{stage}, mean");
            let row = self.now.row(ONE_THREAD, &name);
            row.map(|row| row.median).ok_or_else(|| missing(ONE_THREAD, &name))
        };
        stages.iter().map(mean).collect()
    }

    /// What these stages together take of an update.
    fn of_update(&self, stages: &[&str]) -> Said {
        let [some, all] = [stages, &STAGES].map(|stages| self.means(stages));
        let [some, all]: [f64; 2] = [some?.iter().sum(), all?.iter().sum()];
        Ok(format!("{:.0} %", 100.0 * some / all))
    }

    /// Where the time of an update goes.
    fn stages(&self) -> Said {
        let group = ONE_THREAD;
        let means = self.means(&STAGES)?;
        let all: f64 = means.iter().sum();
        let own = ["stage", "mean, µs", "of an update"];
        let mut table = Table::new(self.head(&own, |label| format!("p50, µs: {label}")));
        for (stage, mean) in STAGES.iter().zip(&means) {
            let own = [(*stage).into(), figure(*mean), format!("{:.1} %", 100.0 * mean / all)];
            let rows = self.machines().map(|machine| machine.row(group, &format!("{stage}, p50")));
            let p50s = rows.map(|row| row.map_or(dash(), |row| figure(row.median)));
            table.push(own.into_iter().chain(p50s));
        }
        Ok(table.text())
    }

    /// The bounds between the arithmetic and the engine.
    fn ladder(&self) -> Said {
        let ladder = roofline::ladder(&self.now).map_err(|error| unknown(&format!("{error:#}")))?;
        let top = ladder.first().map_or(f64::NAN, |rung| rung.m_frames_per_s);
        let mut table = Table::new(["bound", "M frames/s", "of the first"]);
        for rung in ladder {
            let share = format!("{:.0} %", 100.0 * rung.m_frames_per_s / top);
            table.push([rung.name.into(), figure(rung.m_frames_per_s), share]);
        }
        Ok(table.text())
    }

    /// A rung of that ladder, of the first.
    fn of_peak(&self, name: &str) -> Said {
        let ladder = roofline::ladder(&self.now).map_err(|error| unknown(&format!("{error:#}")))?;
        let rung = ladder.iter().find(|rung| rung.name == name);
        let shares = rung.zip(ladder.first());
        let (rung, top) = shares.ok_or_else(|| missing("roofline", name))?;
        Ok(format!("{:.0} %", 100.0 * rung.m_frames_per_s / top.m_frames_per_s))
    }

    /// A kernel over a slot, of its core's peak.
    fn kernel_of_peak(&self, name: &str) -> Said {
        let set = self.now.widest().ok_or_else(|| missing("kernels", "widest"))?;
        let kernel = set.of_size(roofline::HIDDEN, 672).find(|kernel| kernel.name == name);
        let kernel = kernel.ok_or_else(|| missing("kernels", name))?;
        Ok(format!("{:.0} %", kernel.percent_of_peak))
    }

    /// The machines whose kernels were measured, by their labels.
    fn kernels_measured(&self) -> impl Iterator<Item = (&'static str, &InstructionSet)> {
        self.machines().filter_map(|machine| Some((machine.label, machine.widest()?)))
    }

    /// Each kernel at the size of a slot, of its core's peak.
    fn kernels(&self) -> Said {
        let own = ["kernel", "columns", "FLOP a frame", "GFLOP/s"];
        let measured = Vec::from_iter(self.kernels_measured());
        let titles = measured.iter().map(|(label, _)| format!("% of peak: {label}"));
        let mut table = Table::new(with_titles(&own, titles));
        let set = self.now.widest().ok_or_else(|| missing("kernels", "widest"))?;
        let act = set.of_size(roofline::HIDDEN, 32).filter(|kernel| kernel.name == "forward");
        let all = act.chain(set.of_size(roofline::HIDDEN, 672));
        for kernel in all.filter(|kernel| kernel.flops_per_frame > 0) {
            let own = [
                kernel.name.clone(),
                kernel.n_frames.to_string(),
                kernel.flops_per_frame.to_string(),
                format!("{:.1}", kernel.gflops),
            ];
            let same = measured.iter().map(|(_, set)| set.same_as(kernel));
            let percent = |kernel: &Kernel| format!("{:.1}", kernel.percent_of_peak);
            table.push(own.into_iter().chain(same.map(|same| same.map_or(dash(), percent))));
        }
        Ok(table.text())
    }

    /// The middle layer's product in bf16 by the same in f32, over so many columns, where both were measured.
    fn bf16(&self, n_frames: usize) -> Said {
        let rate = |set: &InstructionSet, name: &str| {
            let kernel = set.of_size(roofline::HIDDEN, n_frames).find(|kernel| kernel.name == name);
            kernel.map(|kernel| kernel.gflops)
        };
        let ratio = |set| Some(rate(set, "middle sums, bf16")? / rate(set, "middle sums, f32")?);
        let ratio = self.kernels_measured().find_map(|(_, set)| ratio(set));
        ratio.map(|ratio| format!("× {ratio:.2}")).ok_or_else(|| missing("kernels", "bf16"))
    }

    /// Speed of a short run, M frames/s.
    fn speed(&self, group: &str, name: &str) -> Said {
        let case = self.now.case(group, name).ok_or_else(|| missing(group, name))?;
        Ok(figure(case.m_frames_per_s.median))
    }

    /// Operations a frame, in thousands.
    fn flops(&self) -> String {
        format!("{:.1} thousand", roofline::frame_flops() / 1e3)
    }

    /// The same by what they are for.
    fn flop_parts(&self) -> String {
        let [act, forward, backward] =
            [roofline::act_flops(), roofline::forward_flops(), roofline::backward_flops()];
        format!(
            "{act:.0} to act, {forward:.0} for the learner's forward pass, {backward:.0} for the \
             gradient, {:.0} together",
            roofline::frame_flops()
        )
    }

    /// Of one core of each machine, GFLOP/s.
    fn peaks(&self) -> Said {
        let peak =
            |(label, set): (_, &InstructionSet)| format!("{} ({label})", figure(set.peak_gflops));
        let peaks = Vec::from_iter(self.kernels_measured().map(peak));
        if peaks.is_empty() { Err(missing("kernels", "peak")) } else { Ok(peaks.join(", ")) }
    }
}

/// Runs with the defaults, and the same with a learner of one thread.
const WHOLE: &str = "end to end, native";
pub const ONE_THREAD: &str = "end to end, native, 1 learner thread";
const PARTS: &str = "parts, one core, from memory";
const MEMORY: &str = "memory of all processes (PSS), largest";
const START: &str = "start of the process";
const FIRST_ROLLOUT: &str = "impala train, until the first rollout begins";

/// Method, and the case without it.
const WORTH: [(&str, &str, &str); 13] = [
    ("vectorised environments", SETTINGS, "E = 1, T = 640: same slots"),
    ("vectorised environments", SETTINGS, "E = 1, 32 slots a batch"),
    ("asynchronous actors", EXCHANGED, "lockstep, not asynchronous"),
    ("zero-copy slots", EXCHANGED, "slots copied, not read in place"),
    ("two-cell seqlock", EXCHANGED, "weights: mutex, not seqlock"),
    ("two-cell seqlock", EXCHANGED, "weights: messages, not seqlock"),
    ("rings", EXCHANGED, "rollouts: messages, not rings"),
    ("yielding, then a futex", EXCHANGED, "waiting: futex at once"),
    ("yielding, then a futex", EXCHANGED, "waiting: spin, not futex"),
    ("yielding, then a futex", EXCHANGED, "waiting: yield, not futex"),
    ("one slot in flight", SETTINGS, "2 slots an actor, not 1"),
    ("one slot in flight", SETTINGS, "4 slots an actor, not 1"),
    ("two learner threads", SETTINGS, "1 learner thread, not 2"),
];

fn with_titles(own: &[&str], titles: impl Iterator<Item = String>) -> Vec<String> {
    own.iter().map(|&own| own.to_owned()).chain(titles).collect()
}

fn missing(group: &str, name: &str) -> askama::Error {
    unknown(&format!("not measured: {group}: {name}"))
}

fn unknown(what: &str) -> askama::Error {
    askama::Error::Custom(what.into())
}

fn dash() -> String {
    "–".into()
}

fn of_default(case: &Case) -> String {
    let [low, high] = case.of_default.interval();
    format!("× {:.2} ({low:.2} – {high:.2})", case.of_default.median)
}

fn with_range(spread: Spread) -> String {
    format!("{} ({})", figure(spread.median), range(spread))
}

fn range(spread: Spread) -> String {
    format!("{} – {}", figure(spread.min), figure(spread.max))
}

/// Nanoseconds as µs.
fn micros(ns: f64) -> String {
    format!("{} µs", figure(ns / 1e3))
}
