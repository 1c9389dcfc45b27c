//! A run's files are what was written, and the report shows what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use impala::base::clock::Interval;
use impala::base::stages::{Stage, StageHistograms};
use impala::report::{self, Pictures};
use impala::run::dir::{RunDir, RunDirError, RunName};
use impala::run::meta::Meta;
use impala::sinks::files::{FilesError, RunFiles};
use impala::telemetry::{Exit, MetricsRow, Spread, Summary};
use tempfile::TempDir;

mod synthetic_run;
#[path = "synthetic_run/task_rows.rs"]
mod synthetic_task_rows;
#[path = "synthetic_run/tasks.rs"]
mod synthetic_tasks;
#[path = "common/untrained.rs"]
mod untrained;

use synthetic_run::{CONFIG, of_all};

fn name(seed: u64) -> RunName<'static> {
    let started = "2026-11-22T14:04:05Z".parse().unwrap();
    RunName { of: "CartPole-v1", learner: "native", seed, started }
}

fn report_of(run: &RunDir) -> String {
    let page = report::render(run, Pictures::Svg, &mut |_| ()).unwrap();
    assert_eq!(page, run.report());
    fs::read_to_string(page).unwrap()
}

// The run folder

#[test]
fn a_run_folder_is_named_after_the_run_and_latest_follows() {
    let root = TempDir::new().unwrap();
    let results = root.path().join("results");
    let first = RunDir::create(&results, name(1)).unwrap();
    assert_eq!(first.path(), results.join("CartPole-v1-native-s1-20261122T140405Z"));
    let again = RunDir::create(&results, name(1)).unwrap();
    assert_eq!(again.path(), results.join("CartPole-v1-native-s1-20261122T140405Z-2"));
    RunFiles::create(&again, Meta::collect(), CONFIG).unwrap();
    let latest = results.join("latest");
    assert!(fs::symlink_metadata(&latest).unwrap().is_symlink());
    assert!(fs::read_link(&latest).unwrap().is_relative(), "results/ can be moved as a whole");
    assert_eq!(RunDir::open(&latest).unwrap().path(), again.path().canonicalize().unwrap());
    let left: Vec<_> = fs::read_dir(&results).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "two runs and the link, nothing else: {left:?}");
}

#[test]
fn an_environment_id_with_a_slash_is_one_folder() {
    let root = TempDir::new().unwrap();
    let run = RunDir::create(root.path(), RunName { of: "ALE/Pong-v5", ..name(3) }).unwrap();
    assert_eq!(run.path(), root.path().join("ALE_Pong-v5-native-s3-20261122T140405Z"));
}

#[test]
fn a_named_folder_must_be_new_or_empty() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("mine");
    let run = RunDir::create_at(&path).unwrap();
    assert_eq!(RunDir::create_at(&path).unwrap(), run, "empty, so it may be taken");
    fs::write(path.join("notes.txt"), "").unwrap();
    assert!(matches!(RunDir::create_at(&path), Err(RunDirError::NotEmpty(p)) if p == path));
    fs::write(run.metrics(), "").unwrap();
    let refused = RunDir::create_at(&path).unwrap_err();
    assert!(matches!(&refused, RunDirError::ExistingRun(p) if *p == path));
    assert!(refused.to_string().contains("name another folder"), "{refused}");
}

#[test]
fn errors_name_the_path_and_the_remedy() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let below_a_file = RunDir::create(&file.join("results"), name(1)).unwrap_err().to_string();
    assert!(below_a_file.contains("file/results"), "{below_a_file}");
    assert!(below_a_file.contains("choose a folder"), "{below_a_file}");
    let missing = RunDir::open(&root.path().join("gone")).unwrap_err().to_string();
    assert!(missing.contains("gone") && missing.contains("below results/"), "{missing}");
    assert!(matches!(RunDir::open(root.path()), Err(RunDirError::NotARun(_))));
    fs::create_dir(root.path().join("latest")).unwrap();
    let taken = RunDir::create(root.path(), name(1)).unwrap_err();
    assert!(matches!(&taken, RunDirError::Latest { path, .. } if path.ends_with("latest")));
}

// The files

#[test]
fn metrics_come_back_as_they_were_written() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 200, |_| ());
    let written: Vec<MetricsRow> = (0..200).map(|i| synthetic_run::row(i, 200)).collect();
    assert!(written.iter().any(|row| row.score_mean.is_none()), "an empty cell must be tried");
    let mut reader = csv::Reader::from_path(run.metrics()).unwrap();
    let read: Vec<MetricsRow> = reader.deserialize().map(Result::unwrap).collect();
    assert_eq!(read, written);
}

#[test]
fn meta_says_how_the_run_ended_only_when_it_has() {
    let root = TempDir::new().unwrap();
    let run = RunDir::create_at(&root.path().join("run")).unwrap();
    let began = Meta::collect();
    let read = || serde_json::from_str::<Meta>(&fs::read_to_string(run.meta()).unwrap()).unwrap();
    let mut files = RunFiles::create(&run, began.clone(), CONFIG).unwrap();
    assert_eq!(read(), began);
    assert_eq!((read().exit, read().ended), (None, None));
    files.finish(Exit::Interrupted, "Ctrl-C").unwrap();
    let ended = read();
    assert_eq!(ended.exit, Some(Exit::Interrupted));
    assert_eq!(ended.exit_reason.as_deref(), Some("Ctrl-C"));
    assert!(ended.ended.unwrap() >= ended.started);
    assert_eq!(fs::read_to_string(run.config()).unwrap(), CONFIG);
    let left: Vec<_> = fs::read_dir(run.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|file| file.to_string_lossy().ends_with(".tmp")), "{left:?}");
}

#[test]
fn a_summary_survives_what_is_not_finite() {
    let root = TempDir::new().unwrap();
    let run = RunDir::create_at(&root.path().join("run")).unwrap();
    let files = RunFiles::create(&run, Meta::collect(), CONFIG).unwrap();
    let mut summary =
        synthetic_run::summary(&[synthetic_run::row(0, 1)], &synthetic_run::histograms(0));
    let read =
        || serde_json::from_str::<Summary>(&fs::read_to_string(run.summary()).unwrap()).unwrap();
    files.write_summary(&summary).unwrap();
    assert_eq!(read(), summary);
    summary.rho = Some(Spread { max: f64::INFINITY, ..Spread::default() });
    summary.solved_s = None;
    files.write_summary(&summary).unwrap();
    assert!(read().rho.unwrap().max.is_nan());
    assert_eq!(read().solved_s, None);
}

/// Start and length in ms, tag, histogram.
fn parse_hlog(text: &str) -> Vec<(u128, u128, String, Histogram<u64>)> {
    let intervals =
        IntervalLogIterator::new(text.as_bytes()).filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval),
            LogEntry::StartTime(_) | LogEntry::BaseTime(_) => None,
        });
    intervals
        .map(|interval| {
            let decoder = base64::engine::general_purpose::STANDARD;
            let bytes = decoder.decode(interval.encoded_histogram()).unwrap();
            let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            let (start, length) = (interval.start_timestamp(), interval.duration());
            (start.as_millis(), length.as_millis(), interval.tag().unwrap().to_string(), histogram)
        })
        .collect()
}

#[test]
fn the_latency_log_comes_back_equal() {
    let root = TempDir::new().unwrap();
    let run = RunDir::create_at(&root.path().join("run")).unwrap();
    let mut files = RunFiles::create(&run, Meta::collect(), CONFIG).unwrap();
    let (first, second) = (synthetic_run::histograms(0), synthetic_run::histograms(1));
    let mut only_wait = StageHistograms::default();
    only_wait.record(Stage::Wait, 4_321);
    let spans = [(0, 250_000_000), (250_000_000, 500_000_000), (500_000_000, 1_500_000_000)];
    for ((start_ns, end_ns), histograms) in spans.into_iter().zip([&first, &second, &only_wait]) {
        files.append_latencies(Interval { start_ns, end_ns }, of_all(histograms)).unwrap();
    }
    let read = parse_hlog(&fs::read_to_string(run.latency()).unwrap());
    let stages = || Stage::ALL.into_iter();
    let of = |start_ms, length_ms, histograms: &StageHistograms, stage: Stage| {
        (start_ms, length_ms, stage.tag().to_owned(), histograms.get(stage).clone())
    };
    let mut expected: Vec<_> = stages().map(|stage| of(0, 250, &first, stage)).collect();
    expected.extend(stages().map(|stage| of(250, 250, &second, stage)));
    expected.push(of(500, 1000, &only_wait, Stage::Wait));
    assert_eq!(read, expected);
}

/// The marks by which the Java tools know the format: first line, legend, and the cookie of the
/// compressed V2 encoding at the start of every payload.
#[test]
fn the_latency_log_has_the_marks_of_the_format() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 10, |_| ());
    let text = fs::read_to_string(run.latency()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "#[Histogram log format version 1.3]");
    assert!(lines[1].contains("nanoseconds"), "{}", lines[1]);
    assert!(lines[2].starts_with("#[StartTime: ") && lines[3].starts_with("#[BaseTime: "));
    assert!(lines[4].starts_with("\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\""));
    assert_eq!(lines.len(), 5 + Stage::ALL.len());
    for line in &lines[5..] {
        let fields: Vec<&str> = line.split(',').collect();
        assert!(fields[0].starts_with("Tag=") && fields[4].starts_with("HISTFAAA"), "{line}");
    }
}

/// `/dev/full` answers every write as a full disk does.
#[test]
fn a_full_disk_is_an_error_that_names_the_file() {
    let root = TempDir::new().unwrap();
    let run = RunDir::create_at(&root.path().join("run")).unwrap();
    std::os::unix::fs::symlink("/dev/full", run.metrics()).unwrap();
    let Err(error) = RunFiles::create(&run, Meta::collect(), CONFIG) else {
        panic!("a full disk must be noticed")
    };
    assert!(matches!(&error, FilesError::Write { path, .. } if *path == run.metrics()));
    assert!(error.to_string().contains("disk is full"), "{error}");
}

/// What the limited process of the test below does; on its own it would fill the real disk.
#[test]
#[ignore = "started by a_disk_that_fills_up_leaves_whole_batches"]
fn write_until_the_disk_is_full() {
    let run = RunDir::create_at(Path::new(&std::env::var("FULL_DISK_RUN").unwrap())).unwrap();
    let mut files = RunFiles::create(&run, Meta::collect(), CONFIG).unwrap();
    let batch: Vec<MetricsRow> = (0..10).map(|i| synthetic_run::row(i, 10)).collect();
    let n_written = (0..1000).take_while(|_| files.append_rows(&batch).is_ok()).count();
    assert!(n_written < 1000, "the limit was never met");
    files.append_rows(&batch[..1]).expect("one row fits where ten did not");
    assert!(files.append_rows(&batch).is_err());
}

/// A limit on the size of files is met in the middle of a write, as the end of a disk is.
#[test]
fn a_disk_that_fills_up_leaves_whole_batches() {
    let root = TempDir::new().unwrap();
    let path = root.path().join("run");
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "write_until_the_disk_is_full"])
        .env("FULL_DISK_RUN", &path)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let run = RunDir::open(&path).unwrap();
    let mut reader = csv::Reader::from_path(run.metrics()).unwrap();
    let rows: Vec<MetricsRow> = reader.deserialize().map(Result::unwrap).collect();
    let batches: Vec<MetricsRow> = (0..10).map(|i| synthetic_run::row(i, 10)).collect();
    let (last, whole) = rows.split_last().unwrap();
    assert_eq!(last, &batches[0]);
    assert!(!whole.is_empty() && whole.chunks(10).all(|chunk| chunk == batches));
    assert!(fs::read_to_string(run.metrics()).unwrap().ends_with('\n'));
}

// The report

/// Name of each plot with the number of its data lines, areas and boxes.
const PLOTS: [(&str, usize); 25] = [
    ("score", 4),
    ("loss", 2),
    ("critic_loss", 1),
    ("entropy", 1),
    ("importance_ratio", 3),
    ("policy_lag", 3),
    ("kl", 1),
    ("ring_occupancy", 1),
    ("explained_variance", 1),
    ("grad_norm", 1),
    ("learning_rate", 1),
    ("throughput", 3),
    ("batching_forward_backward", 3),
    ("stage_shares", 11),
    ("stage_times", 11),
    ("percentiles", 7),
    ("actor_times", 20),
    ("memory", 4),
    ("band_batching", 3),
    ("band_forward", 3),
    ("band_vtrace", 3),
    ("band_backward", 3),
    ("band_optimizer", 3),
    ("band_publish", 3),
    ("band_wait", 3),
];

/// Names of a plot's files without their ending: one, or one for each thing a run is drawn over.
fn files(id: &str) -> Vec<String> {
    match id {
        "percentiles" | "actor_times" => vec![id.to_owned()],
        _ => vec![format!("{id}_frames"), format!("{id}_seconds")],
    }
}

fn all_files() -> Vec<String> {
    PLOTS.iter().flat_map(|(id, _)| files(id)).collect()
}

fn svg(run: &RunDir, file: &str) -> String {
    fs::read_to_string(run.plots().join(file).with_extension("svg")).unwrap()
}

/// A plot over frames, if it has the choice.
fn plot(run: &RunDir, id: &str) -> String {
    svg(run, &files(id)[0])
}

/// The coordinates of every line and area; axes, legend and dashes have fewer corners than data.
fn outlines(svg: &str) -> Vec<Vec<(i32, i32)>> {
    let point = |pair: &str| {
        let (x, y) = pair.split_once(',').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    };
    svg.split("points=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().split_whitespace().map(point).collect())
        .filter(|points: &Vec<_>| points.len() > 2)
        .collect()
}

/// Boxes of the data; one is the background, and those of the legend are of one height.
fn data_boxes(svg: &str) -> usize {
    let boxes = svg.lines().filter(|line| line.starts_with("<rect ")).count();
    boxes - 1 - svg.matches("height=\"22\"").count()
}

#[test]
fn the_report_has_every_plot_with_its_data() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 200, |_| ());
    let page = report_of(&run);
    for (id, n_data) in PLOTS {
        for file in files(id) {
            let svg = svg(&run, &file);
            let shapes = if id == "actor_times" { data_boxes(&svg) } else { outlines(&svg).len() };
            assert_eq!(shapes, n_data, "{file}");
            assert!(page.contains(&svg), "{file} is not on the page");
            assert!(!svg.contains("nothing was measured"), "{file}");
        }
    }
    assert_eq!(fs::read_dir(run.plots()).unwrap().count(), all_files().len());
    assert_eq!(page.matches("<figcaption>").count(), PLOTS.len());
}

/// What a clip takes away, and how rewards are scaled, is shown of runs that have such a thing.
#[test]
fn a_clip_and_a_scale_that_moves_are_drawn_where_there_are_any() {
    let root = TempDir::new().unwrap();
    let plain = synthetic_run::write(&root.path().join("plain"), 50, |_| ());
    let reuse = synthetic_run::write(&root.path().join("reuse"), 50, |row| {
        row.policy_clipped = Some(0.1);
        row.reward_scale = Some(1.0 / row.frames as f64);
    });
    let [plain_page, reuse_page] = [&plain, &reuse].map(report_of);
    let lines = |run: &RunDir| outlines(&plot(run, "importance_ratio")).len();
    assert_eq!(lines(&reuse), lines(&plain) + 1);
    assert!(plot(&reuse, "importance_ratio").contains("without policy gradient"));
    assert!(reuse_page.contains("Scale of the rewards"));
    assert!(!plain_page.contains("Scale of the rewards"));
    assert_eq!(outlines(&plot(&reuse, "reward_scale")).len(), 1);
}

#[test]
fn the_markdown_page_is_the_same_with_links() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 200, |_| ());
    report_of(&run);
    let page = fs::read_to_string(run.path().join("report.md")).unwrap().replace('\u{a0}', " ");
    for file in all_files() {
        assert!(page.contains(&format!("(plots/{file}.svg)")), "{file}");
    }
    for told in [
        "# CartPole-v1, seed 7: Finished",
        "What would help most",
        "| `backward` | losses and gradient |",
        "| actor 3 | a free slot in its ring |",
        "| without a core | share | on a core |",
        "It learned: the score rose from",
        "| load at the start | threads that ran or wanted to:",
        "| learner: unroll_length | 20 |",
        "| ended because | the frame budget was consumed |",
    ] {
        assert!(page.contains(told), "{told:?} is not on the page: {page}");
    }
}

/// The picture of each drawing, with its text: a renderer without fonts leaves the title's strip empty.
#[cfg(feature = "png")]
#[test]
fn every_drawing_becomes_a_png() {
    use resvg::tiny_skia::Pixmap;
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 20, |_| ());
    report::render(&run, Pictures::SvgAndPng, &mut |_| ()).unwrap();
    for file in all_files() {
        let path = run.plots().join(&file).with_extension("png");
        let picture = Pixmap::decode_png(&fs::read(path).unwrap()).unwrap();
        assert_eq!(picture.width(), 1200);
        let is_dark = |x, y| picture.pixel(x, y).is_some_and(|pixel| pixel.red() < 100);
        let title = (0..600).flat_map(|x| (10..50).map(move |y| (x, y)));
        let n_dark = title.filter(|&(x, y)| is_dark(x, y)).count();
        assert!(n_dark > 300, "{file}: {n_dark} dark pixels in the title");
    }
}

/// The one curve whose shape is known in closed form: linear decay to a floor of a twentieth.
#[test]
fn a_curve_is_where_its_numbers_are() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 200, |_| ());
    report_of(&run);
    let rates = outlines(&plot(&run, "learning_rate")).remove(0);
    assert_eq!(rates.len(), 200);
    let (first, floor) = (rates[0], rates[199]);
    let middle = rates[99];
    assert!(rates.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "down and to the right");
    assert_eq!(rates[195].1, floor.1, "level at the floor");
    // From 0.995 of the start to 0.05 in all, and to 0.5 in the middle.
    let share = f64::from(middle.1 - first.1) / f64::from(floor.1 - first.1);
    assert!((share - (0.995 - 0.5) / (0.995 - 0.05)).abs() < 0.01, "{share}");
}

/// What a reader of the assignment looks for: each can be read off the picture, or stands in a table.
#[test]
fn late_in_the_run_the_critics_loss_is_no_flat_line() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 200, |_| ());
    report_of(&run);
    let critic = outlines(&plot(&run, "critic_loss")).remove(0);
    let late: Vec<i32> = critic[120..].iter().map(|point| point.1).collect();
    let height = late.iter().max().unwrap() - late.iter().min().unwrap();
    assert!(height > 60, "{height} pixels of 460");
}

#[test]
fn importance_ratios_can_be_read_off() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 11, |row| {
        row.rho_min = Some(0.75);
        row.rho_max = Some(1.0 + row.updates as f64 / 100.0);
    });
    let page = report_of(&run).replace('\u{a0}', " ");
    let plot = plot(&run, "importance_ratio");
    for tick in ["0.8", "1", "1.2", "1.4"] {
        assert!(plot.contains(&format!("\n{tick}\n")), "no tick {tick}: {plot}");
    }
    let markdown = fs::read_to_string(run.path().join("report.md")).unwrap();
    assert!(markdown.contains("| largest | 1.05 | 1.1 | 1.3 | 1.5 | 1.55 |"), "{markdown}");
    assert!(markdown.contains("| smallest | 0.75 | 0.75 | 0.75 | 0.75 | 0.75 |"), "{markdown}");
    assert!(page.contains("<h2>Importance ratios in numbers</h2>"));
}

#[test]
fn a_run_that_slowed_down_is_told_by_its_throughput() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 40, |row| {
        let late_s = row.time_s - 0.0375;
        row.time_s += if late_s > 0.0 { 3.0 * late_s } else { 0.0 };
    });
    let page = report_of(&run).replace('\u{a0}', " ");
    assert!(page.contains("The second half ran at 2"), "of a quarter of the speed");
    assert!(page.contains("frames/s in the mean; the intervals spread around it by "));
    let even = synthetic_run::write(&root.path().join("even"), 40, |_| ());
    assert!(!report_of(&even).contains("The second half ran"));
}

#[test]
fn the_page_says_what_ran_where_the_settings_leave_it_open() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 20, |_| ());
    fs::write(run.config(), "learner = \"auto\"\nlearner_threads = 0\nkernels = \"auto\"\n")
        .unwrap();
    report_of(&run);
    let page = fs::read_to_string(run.path().join("report.md")).unwrap().replace('\u{a0}', " ");
    for told in [
        "one learner (native backend, avx2 kernels, 2 threads)",
        "| general: learner | native (set: auto) |",
        "| general: learner_threads | 2 (set: 0) |",
        "| general: kernels | avx2 (set: auto) |",
    ] {
        assert!(page.contains(told), "{told:?} is not on the page: {page}");
    }
}

/// A run whose learner made no update: nothing is nought that was not measured, and nothing empty is bold.
#[test]
fn what_was_not_measured_is_a_dash_on_the_page() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 0, |_| ());
    let mut summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.summary()).unwrap()).unwrap();
    for name in ["policy_lag", "gradient_lag", "rho", "train_s", "frames_per_s", "solved_s"] {
        summary[name] = serde_json::Value::Null;
    }
    for name in ["supervisor_bytes", "learner_bytes", "actors_bytes"] {
        summary["memory"][name] = serde_json::Value::Null;
    }
    (summary["frames"], summary["updates"], summary["solved"]) = (1.into(), 1.into(), false.into());
    for (_, latency) in summary["latency_us"].as_object_mut().unwrap() {
        latency["count"] = 0.into();
    }
    fs::write(run.summary(), summary.to_string()).unwrap();
    let page = report_of(&run).replace('\u{a0}', " ");
    let markdown = fs::read_to_string(run.path().join("report.md")).unwrap().replace('\u{a0}', " ");
    for told in ["| Policy lag | **–** |", "| Memory | **–** |", "| Frames per second | **–** |"]
    {
        assert!(markdown.contains(told), "{told:?}: {markdown}");
    }
    assert!(markdown.contains("from 1 frame in 1 update."), "{markdown}");
    assert!(!markdown.contains("****") && !markdown.contains("0 MB"), "{markdown}");
    assert_drawn_well(&run, &page);
}

#[test]
fn the_page_stands_alone_and_tells_the_run() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 200, |_| ());
    let page = report_of(&run).replace('\u{a0}', " ");
    let n_drawings = all_files().len();
    for (from_outside, allowed) in [
        // The name of the SVG language looks like an address; nothing is fetched from it.
        ("http", n_drawings + 1),
        ("<script", n_drawings + 1),
        ("src=", 0),
        ("url(", 0),
        ("@import", 0),
    ] {
        assert_eq!(page.matches(from_outside).count(), allowed, "{from_outside}");
    }
    for told in [
        "CartPole-v1, seed 7",
        "236,800 frames; the mean of 100 episodes reached 475",
        "mean of 100 episodes, from 500 to 500",
        "What would help most",
        "It learned: the score rose from",
        "other programs used",
        "largest stage was backward",
        "<td>actor 3</td>",
        "stop_when_solved",
        "the frame budget was consumed",
    ] {
        assert!(page.contains(told), "{told:?} is not on the page");
    }
    for stage in Stage::ALL {
        assert!(page.contains(&format!("<code>{}</code>", stage.tag())), "{}", stage.tag());
    }
    let learner = page.lines().find(|line| line.contains("<td>learner</td>")).unwrap();
    assert!(learner.ends_with("<td class=\"n\">3</td></tr>"), "its restarts: {learner}");
    assert!(!page.contains("What is missing here"));
}

/// From the checkpoint and the picture in the folder, so that `impala report` has them too.
#[test]
fn the_page_says_what_was_learned_from_and_shows_it() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 20, |_| ());
    let heading = "Task and network";
    assert!(!report_of(&run).contains(heading), "without a checkpoint nothing is known");
    untrained::checkpoint("MinAtar/Breakout-v1", 640).save(&run.checkpoint()).unwrap();
    let png = tiny_skia::Pixmap::new(2, 2).unwrap().encode_png().unwrap();
    fs::write(run.observation(), &png).unwrap();
    let page = report_of(&run).replace('\u{a0}', " ");
    let markdown = fs::read_to_string(run.path().join("report.md")).unwrap().replace('\u{a0}', " ");
    for told in [
        "observation | 4 planes of 10 × 10 bits; 400 bytes",
        "action | one of 3",
        "network | minatar, 128 features",
        "parameters | 132,308, both heads included",
        "computed by | our own kernels (native), in learner and actors",
    ] {
        assert!(markdown.contains(told), "{told:?} is not on the page: {markdown}");
        let cells = told.replace(" | ", "</td><td>");
        assert!(page.contains(&cells), "{cells:?} is not on the page");
    }
    let embedded = base64::engine::general_purpose::STANDARD.encode(&png);
    assert!(page.contains(&format!("src=\"data:image/png;base64,{embedded}\"")));
    assert!(page.contains(heading) && markdown.contains("![An observation](observation.png)"));

    fs::write(run.observation(), "GIF89a").unwrap();
    let page = report_of(&run);
    assert!(page.contains("observation.png: it is no PNG file") && !page.contains("<img"));
}

#[test]
fn an_environment_without_a_threshold_is_not_said_to_be_unsolved() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 20, |_| ());
    let mut summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.summary()).unwrap()).unwrap();
    summary["score_threshold"] = serde_json::Value::Null;
    (summary["solved"], summary["score_last100"]) = (false.into(), 7.5.into());
    fs::write(run.summary(), summary.to_string()).unwrap();
    report_of(&run);
    let page = fs::read_to_string(run.path().join("report.md")).unwrap();
    assert!(page.contains("| Score | **7.5** |") && !page.contains("| Solved"), "{page}");
}

#[test]
fn text_from_the_run_cannot_become_markup() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 1, |_| ());
    fs::write(run.config(), "env = \"<img onerror=x>\"\n").unwrap();
    assert!(!report_of(&run).contains("<img"));
}

/// No shape may have a coordinate that is no number, whatever was measured.
fn assert_drawn_well(run: &RunDir, page: &str) {
    for file in all_files() {
        let svg = svg(run, &file);
        for bad in ["NaN", "nan", "inf", "2147483647", "-2147483648"] {
            assert!(!svg.contains(bad), "{file} contains {bad}");
        }
        outlines(&svg);
    }
    assert!(!page.contains("NaN") && !page.contains(">inf"), "a value is not a number");
    assert!(page.contains("</html>"));
}

#[test]
fn short_runs_are_readable() {
    let root = TempDir::new().unwrap();
    for n in [0, 1, 2] {
        let run = synthetic_run::write(&root.path().join(n.to_string()), n, |_| ());
        let page = report_of(&run);
        assert_drawn_well(&run, &page);
        assert_eq!(page.contains("nothing was measured"), n == 0, "{n} rows");
        assert!(plot(&run, "entropy").contains("<circle") == (n > 0), "a point of its own is seen");
    }
}

#[test]
fn a_run_without_episodes_or_evaluation_is_readable() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 50, |row| {
        (row.score_mean, row.score_min, row.score_max, row.score_last100) =
            (None, None, None, None);
    });
    let mut summary: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(run.summary()).unwrap()).unwrap();
    for absent in ["eval", "solved_frames", "solved_s", "score_last100", "score_threshold"] {
        summary.insert(absent.to_owned(), serde_json::Value::Null);
    }
    summary.insert("solved".to_owned(), false.into());
    fs::write(run.summary(), serde_json::to_string(&summary).unwrap()).unwrap();
    let page = report_of(&run);
    assert_drawn_well(&run, &page);
    assert!(page.contains("the final policy was not evaluated"));
    assert!(plot(&run, "score").contains("nothing was measured"));
}

#[test]
fn a_diverged_run_is_readable_and_says_what_is_left_out() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 60, |row| {
        if row.updates > 150 {
            (row.total_loss, row.critic_loss) = (Some(f64::NAN), Some(f64::INFINITY));
            (row.policy_loss, row.grad_norm) = (Some(f64::NEG_INFINITY), 1e300);
            (row.rho_max, row.rho_min) = (Some(f64::INFINITY), Some(0.0));
            row.forward_us = f64::NAN;
        }
        if row.updates > 250 {
            row.time_s = f64::NAN;
        }
    });
    let page = report_of(&run);
    assert_drawn_well(&run, &page);
    // 30 rows with six such values each, ten of them without a time.
    assert!(
        page.contains("metrics.csv: 190 values left out of the plots: not finite, or too large"),
        "{page}"
    );
    let critic = &outlines(&plot(&run, "critic_loss"))[0];
    assert_eq!(critic.len(), 30, "what is finite is still drawn");
}

#[test]
fn a_killed_run_is_readable_and_says_what_is_missing() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 60, |_| ());
    fs::remove_file(run.summary()).unwrap();
    let metrics = fs::read_to_string(run.metrics()).unwrap().replacen("\n", "\n1.0,broken\n", 4);
    fs::write(run.metrics(), metrics).unwrap();
    cut(&run.metrics(), 3);
    cut(&run.latency(), 300);
    fs::write(run.meta(), "{").unwrap();
    let page = report_of(&run);
    assert_drawn_well(&run, &page);
    for said in [
        "summary.json: ",
        "meta.json: ",
        "latency.hlog: the last line",
        "metrics.csv: the last line",
        "metrics.csv: 4 unreadable rows",
        "Not ended",
    ] {
        assert!(page.contains(said), "{said:?} is not on the page");
    }
    assert_eq!(outlines(&plot(&run, "entropy"))[0].len(), 59, "all rows but the cut one");
    assert_eq!(outlines(&plot(&run, "percentiles")).len(), 7, "from the log alone");
    assert!(page.contains("<code>backward</code>"), "the stage table comes from the log");
}

/// Stage table and percentile plot show the same measurements, whichever part they are of.
/// Where there are several tasks; what their episodes together scored is then not judged.
#[test]
fn each_of_several_tasks_has_its_curve_and_its_line() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 50, |_| ());
    let heading = "How did each task do?";
    let page = report_of(&run);
    assert!(!page.contains(heading) && page.contains("What came of it"));
    synthetic_tasks::add_tasks(&run, 50);
    let page = report_of(&run);
    assert!(page.contains(heading) && !page.contains("What came of it"));
    assert!(page.contains("the mean of the 2 tasks is 40"));
    assert!(page.contains("<td>Cave-v0</td><td>500,000</td><td>1,000</td><td>12.5</td>"), "{page}");
    assert!(page.contains("Normalised score") && !page.contains("Greedy score"));
    assert!(!page.contains("mean of the last 100 episodes"), "a score of both would mean nothing");
    let [scores, deviations] = ["task_scores", "task_deviations"].map(|id| plot(&run, id));
    assert_eq!((outlines(&scores).len(), outlines(&deviations).len()), (4, 2));
    assert!(scores.contains("Maze-v0") && !scores.contains("nothing was measured"));
    let markdown = fs::read_to_string(run.path().join("report.md")).unwrap();
    assert!(markdown.contains("| Cave-v0 | 500,000 | 1,000 | 12.5 |"), "{markdown}");
}

#[test]
fn a_resumed_run_says_what_is_of_both_parts() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 30, |_| ());
    let change = |file: &Path, field: &str, value: serde_json::Value| {
        let mut json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        json.pointer_mut(field).map(|old| *old = value).unwrap();
        fs::write(file, json.to_string()).unwrap();
    };
    let whole = report_of(&run);
    assert!(!whole.contains("earlier run"));
    change(&run.meta(), "/resumed_from", "earlier/checkpoint.safetensors".into());
    change(&run.summary(), "/frames_before", 64_000.into());
    change(&run.summary(), "/latency_us/backward/count", 7.into());
    let page = report_of(&run);
    assert!(page.contains("recorded until frame 64,000"));
    assert!(page.contains("32k frames learned from in "), "96,000 less those before");
    assert!(page.contains("earlier/checkpoint.safetensors"));
    let stage_row = |page: &str| {
        let (_, row) = page.split_once("<tr><td><code>backward</code>").unwrap();
        row.split_once("</tr>").unwrap().0.to_owned()
    };
    assert_eq!(stage_row(&page), stage_row(&whole), "as in the log, which the plots show");

    change(&run.summary(), "/frames_before", 1.into());
    assert!(report_of(&run).contains("from frame 1 of an earlier run, without its records"));
    fs::remove_file(run.latency()).unwrap();
    assert!(stage_row(&report_of(&run)).contains(">7<"), "without a log, as in the summary");
}

#[test]
fn a_damaged_header_is_said() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 60, |_| ());
    let metrics = fs::read_to_string(run.metrics()).unwrap();
    let header = metrics.lines().next().unwrap();
    let n_columns = header.split(',').count();
    let names = |n_known| format!("names {n_known} of {n_columns} columns; ");
    // A score may be absent from a row, so that only the header tells.
    let renamed = header.replace("score_last100", "score_last10O");
    let without_rows = "\u{1}garbage\n".to_owned();
    for (damaged, said) in [
        (
            metrics.replacen(header, &renamed, 1),
            names(n_columns - 1) + "<code>score_last100</code> is missing",
        ),
        (metrics.replacen(header, "\u{1}garbage", 1), names(0) + "<code>time_s</code> is missing"),
        (without_rows, names(0) + "<code>time_s</code> is missing"),
        (String::new(), "metrics.csv: it is empty".to_owned()),
    ] {
        fs::write(run.metrics(), damaged).unwrap();
        let page = report_of(&run);
        assert!(page.contains(&said), "{said:?} is not on the page");
    }
    fs::write(run.metrics(), metrics).unwrap();
    assert!(!report_of(&run).contains("metrics.csv: "), "a whole table gets no note");
}

fn cut(path: &Path, n_bytes: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - n_bytes).unwrap();
}

#[test]
fn a_long_run_makes_a_page_under_four_megabytes() {
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 20_000, |row| {
        if row.updates == 50_005 {
            row.kl = Some(10.0);
        }
    });
    let page = report_of(&run);
    assert_drawn_well(&run, &page);
    assert!(page.len() < 4_000_000, "{} bytes", page.len());
    let kl = &outlines(&plot(&run, "kl"))[0];
    assert!((500..=1000).contains(&kl.len()), "{} points", kl.len());
    let top = kl.iter().map(|point| point.1).min().unwrap();
    let others = kl.iter().filter(|point| point.1 < top + 100).count();
    assert_eq!(others, 1, "the one spike of 20,000 rows is seen, and seen alone");
}

// Many runs

/// A run with these settings that took so many frames to solve its task.
fn run_of(root: &Path, name: &str, (seed, slots): (u64, u64), solved_frames: u64) -> RunDir {
    let run = synthetic_run::write(&root.join(name), 60, |row| {
        row.policy_lag_mean = slots as f64;
    });
    let config = format!("seed = {seed}\nframes = 9\n[actors]\nslots_per_actor = {slots}\n");
    fs::write(run.config(), config).unwrap();
    let mut summary: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(run.summary()).unwrap()).unwrap();
    (summary["seed"], summary["solved_frames"]) = (seed.into(), solved_frames.into());
    fs::write(run.summary(), summary.to_string()).unwrap();
    run
}

#[test]
fn runs_are_compared_by_the_settings_that_differ() {
    let root = TempDir::new().unwrap();
    let of = |name: &str, settings, frames| run_of(root.path(), name, settings, frames);
    let runs = [
        of("a", (1, 1), 200_000),
        of("b", (2, 1), 240_000),
        of("c", (3, 1), 180_000),
        of("d", (1, 4), 300_000),
    ];
    let folder = root.path().join("compared");
    fs::create_dir(&folder).unwrap();
    let mut steps = Vec::new();
    let page =
        report::compare(&runs, &folder, Pictures::Svg, &mut |step| steps.push(step)).unwrap();
    for (task, total) in [("reading", runs.len() as u64), ("drawing", 8)] {
        let of_task = steps.iter().filter(|step| step.task == task);
        let told: Vec<(u64, u64)> = of_task.map(|step| (step.done, step.total)).collect();
        assert_eq!(told, (1..=total).map(|done| (done, total)).collect::<Vec<_>>(), "{task}");
    }
    let html = fs::read_to_string(page).unwrap().replace('\u{a0}', " ");
    let markdown = fs::read_to_string(folder.join("report.md")).unwrap().replace('\u{a0}', " ");
    for told in [
        "They differ in actors.slots_per_actor;",
        "4 of 4 runs solved their task.",
        "slots_per_actor 1 (200k (180k to 240k)), then slots_per_actor 4 (300k)",
        "no run of the second was as quick as the slowest of the first",
    ] {
        assert!(html.contains(told) && markdown.contains(told), "{told:?}: {markdown}");
    }
    assert!(
        markdown.contains("| slots_per_actor 1 | 3 of 3 | 200k (180k to 240k) |"),
        "{markdown}"
    );
    assert!(markdown.contains("| actors.slots_per_actor | 1 | 4 |"), "{markdown}");
    assert!(markdown.contains("| [d](../d/report.html) | slots_per_actor 4 | 1 | 300,000 |"));
    assert!(markdown.contains("| frames | 9 |") && !markdown.contains("\n| seed |"), "{markdown}");
    let lag = fs::read_to_string(folder.join("plots/policy_lag_frames.svg")).unwrap();
    // The band and the median of the three, the line of the one.
    assert_eq!(outlines(&lag).len(), 3);
    let level = |outline: &[(i32, i32)]| outline.iter().map(|point| point.1).max().unwrap();
    assert!(
        level(&outlines(&lag)[1]) > level(&outlines(&lag)[2]),
        "a lag of 4 lies above one of 1"
    );
}

#[test]
fn runs_of_different_environments_are_set_side_by_side_and_not_ranked() {
    let root = TempDir::new().unwrap();
    let of = |env: &str, threshold: f64| {
        let run = run_of(root.path(), env, (1, 1), 200_000);
        let long = "x".repeat(50);
        fs::write(run.config(), format!("env = \"{env}\"\n[a]\nb = \"{env}{long}\"\n")).unwrap();
        let text = fs::read_to_string(run.summary()).unwrap();
        let mut summary: serde_json::Value = serde_json::from_str(&text).unwrap();
        (summary["env"], summary["score_threshold"]) = (env.into(), threshold.into());
        fs::write(run.summary(), summary.to_string()).unwrap();
        run
    };
    let runs = [of("CartPole-v1", 475.0), of("Acrobot-v1", -100.0)];
    report::compare(&runs, root.path(), Pictures::Svg, &mut |_| ()).unwrap();
    let markdown = fs::read_to_string(root.path().join("report.md")).unwrap();
    assert!(markdown.contains("scores and frames of one group do not compare"), "{markdown}");
    assert!(!markdown.contains("Fewest frames"), "{markdown}");
    assert!(markdown.contains("| setting | CartPole-v1 | Acrobot-v1 |"), "{markdown}");
    let score = fs::read_to_string(root.path().join("plots/score_frames.svg")).unwrap();
    for level in ["CartPole-v1 solved", "Acrobot-v1 solved"] {
        assert!(score.contains(level), "{level}: {score}");
    }
}

#[test]
fn runs_of_several_tasks_are_compared_by_their_normalised_score() {
    let root = TempDir::new().unwrap();
    let of = |name: &str| synthetic_run::write(&root.path().join(name), 50, |_| ());
    let compared = |runs: &[RunDir]| {
        report::compare(runs, root.path(), Pictures::Svg, &mut |_| ()).unwrap();
        let markdown = fs::read_to_string(root.path().join("report.md")).unwrap();
        markdown.replace('\u{a0}', " ")
    };
    let alone = of("alone");
    let markdown = compared(std::slice::from_ref(&alone));
    assert!(!markdown.contains("ormalised score"), "{markdown}");
    let runs = [of("one"), of("other")];
    runs.iter().for_each(|run| synthetic_tasks::add_tasks(run, 50));
    let markdown = compared(&runs);
    assert!(
        markdown.contains("| normalised score |") && markdown.contains("| 40 % |"),
        "{markdown}"
    );
    assert!(!markdown.contains("Score: mean of the last 100 episodes"), "{markdown}");
    let curve = fs::read_to_string(root.path().join("plots/normalized_score_frames.svg")).unwrap();
    assert!(!curve.contains("nothing was measured"), "{curve}");
    let [one, _] = runs;
    let markdown = compared(&[alone, one]);
    for title in ["Score: mean of the last 100 episodes", "Normalised score of several tasks"] {
        assert!(markdown.contains(title), "{title}: {markdown}");
    }
}

#[test]
fn runs_of_one_setting_are_one_group_whatever_their_length() {
    let root = TempDir::new().unwrap();
    let short = synthetic_run::write(&root.path().join("short"), 3, |_| ());
    let long = synthetic_run::write(&root.path().join("long"), 60, |_| ());
    let empty = synthetic_run::write(&root.path().join("empty"), 0, |_| ());
    let page =
        report::compare(&[short, long, empty], root.path(), Pictures::Svg, &mut |_| ()).unwrap();
    let html = fs::read_to_string(page).unwrap();
    assert!(html.contains("what sets them apart is chance") && !html.contains("NaN"), "{html}");
    assert!(html.contains("all runs: lowest to highest"));
}
