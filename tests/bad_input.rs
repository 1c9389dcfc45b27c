//! Files that nobody wrote in good faith: settings, checkpoints, run folders and segments, cut, flipped and made up.
//! Whatever they hold, reading them ends with a value or with a message; never with a panic, and never
//! with more memory than an honest file of that kind would take.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use impala::config::Config;
use impala::network::NetworkSpec;
use impala::network::params::{MAX_PARAMS, ParamLayout};
use impala::report::{self, Pictures};
use impala::revisit::live::LiveRun;
use impala::revisit::resume::Resumption;
use impala::rollout::RolloutShape;
use impala::run::dir::RunDir;
use impala::run::sizes::Sizes;
use impala::shm::layout::{Layout, SegmentShape};
use impala::shm::view::SegmentView;
use impala::shm::{Segment, SegmentError};
use impala::state::checkpoint::Checkpoint;
use impala::state::{Counters, LearnerState, OptimizerState, ReturnStats, SCORE_WINDOW};
use proptest::prelude::*;
use tempfile::TempDir;

#[path = "common/peak_memory.rs"]
mod peak_memory;
mod synthetic_run;

use peak_memory::peak_of;

/// What reading a small file may hold at once, its message included.
const SMALL_BYTES: usize = 4 << 20;

fn cases(n_cases: u32) -> ProptestConfig {
    ProptestConfig { cases: n_cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Something done to a file's bytes. Places are fractions of the length, in 1/65536.
#[derive(Clone, Debug)]
enum Damage {
    Cut(u16),
    Flip(u16, u8),
    Overwrite(u16, Vec<u8>),
    Insert(u16, Vec<u8>),
}

impl Damage {
    fn any() -> impl Strategy<Value = Damage> {
        let bytes = || prop::collection::vec(any::<u8>(), 1..40);
        prop_oneof![
            any::<u16>().prop_map(Damage::Cut),
            (any::<u16>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
            (any::<u16>(), bytes()).prop_map(|(at, bytes)| Damage::Overwrite(at, bytes)),
            (any::<u16>(), bytes()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        ]
    }

    fn apply(&self, file: &mut Vec<u8>) {
        let place = |at: u16| file.len() * usize::from(at) / 65_536;
        match self {
            Damage::Cut(at) => file.truncate(place(*at)),
            Damage::Flip(at, bit) => {
                let place = place(*at);
                file.get_mut(place).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
            Damage::Overwrite(at, bytes) => {
                let place = place(*at);
                file[place..].iter_mut().zip(bytes).for_each(|(old, new)| *old = *new);
            }
            Damage::Insert(at, bytes) => {
                let place = place(*at);
                file.splice(place..place, bytes.iter().copied());
            }
        }
    }
}

// Settings

/// Values that are wrong somewhere, each as TOML.
const NASTY: [&str; 18] = [
    "0",
    "-1",
    "1",
    "7",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "-0.0",
    "1e-320",
    "nan",
    "-inf",
    "true",
    "\"\"",
    "\"\\u0000\\u001b[2J\"",
    "[]",
    "[16384, 16384, 16384]",
    "[1, 9223372036854775807]",
    "{ a = 1 }",
];

/// All settings with their defaults as `key = value` in dotted form.
fn default_lines() -> Vec<(String, String)> {
    fn flatten(prefix: &str, table: &toml::Table, lines: &mut Vec<(String, String)>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => flatten(&format!("{prefix}{key}."), inner, lines),
                value => lines.push((format!("{prefix}{key}"), value.to_string())),
            }
        }
    }
    let mut lines = Vec::new();
    flatten("", &Config::default().to_toml().parse().unwrap(), &mut lines);
    lines
}

fn settings_of(lines: &[(String, String)]) -> String {
    lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// Reads settings and goes as far with them as a run does before it allocates anything.
fn read_settings(path: &Path) -> Result<(), String> {
    let config = Config::from_file(path).map_err(|error| error.to_string())?;
    config.check().map_err(|error| error.to_string())?;
    let n_params = Sizes::of(&config).unwrap().n_params();
    assert!(n_params <= MAX_PARAMS);
    let shape = SegmentShape {
        n_actors: config.actors.count,
        slots_per_actor: config.actors.slots_per_actor,
        n_params,
        n_moments: 1,
        rollout: Sizes::of(&config).unwrap().rollout,
    };
    Layout::new(&shape).map(|_| ()).map_err(|error| error.to_string())
}

fn check_settings(text: &[u8]) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("settings.toml");
    fs::write(&path, text).unwrap();
    let (result, peak) = peak_of(|| read_settings(&path));
    assert!(peak < SMALL_BYTES, "{peak} bytes for {} bytes of settings", text.len());
    result.unwrap_or_else(|message| assert!(!message.is_empty()));
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn settings_with_values_that_cannot_work_are_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..NASTY.len()), 1..4)
    ) {
        let mut lines = default_lines();
        for (line, value) in changes {
            let at = line.index(lines.len());
            lines[at].1 = NASTY[value].to_owned();
        }
        check_settings(settings_of(&lines).as_bytes());
    }

    #[test]
    fn damaged_settings_are_refused_or_sound(damage in prop::collection::vec(Damage::any(), 1..4)) {
        let mut text = Config::default().to_toml().into_bytes();
        damage.iter().for_each(|damage| damage.apply(&mut text));
        check_settings(&text);
    }
}

/// One at a time, so that no mistake hides behind another one.
#[test]
fn each_setting_with_each_value_that_cannot_work_is_refused_or_sound() {
    let sound = default_lines();
    for changed in 0..sound.len() {
        for value in NASTY {
            let mut lines = sound.clone();
            lines[changed].1 = value.to_owned();
            check_settings(settings_of(&lines).as_bytes());
        }
    }
    println!("{} settings, {} values of each", sound.len(), NASTY.len());
}

#[test]
fn settings_are_read_up_to_a_bound_only() {
    let (error, peak) = peak_of(|| Config::from_file(Path::new("/dev/zero")).unwrap_err());
    assert!(error.to_string().contains("/dev/zero: cannot read the configuration"), "{error}");
    assert!(peak < SMALL_BYTES, "{peak} bytes");
}

/// Deeper than any stack could follow.
#[test]
fn settings_nested_too_deep_are_refused() {
    let depth = 200_000;
    for text in [
        format!("seed = {}{}", "[".repeat(depth), "]".repeat(depth)),
        format!("seed = {}1{}", "{ a = ".repeat(depth), " }".repeat(depth)),
        format!("{}seed = 1", "a.".repeat(depth)),
        format!("[{}a]\nseed = 1", "a.".repeat(depth)),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("settings.toml");
        fs::write(&path, &text).unwrap();
        let (result, peak) = peak_of(|| read_settings(&path));
        let message = result.unwrap_err();
        assert!(message.len() < 4 * text.len(), "{} bytes of message", message.len());
        assert!(peak < 256 * text.len(), "{peak} bytes for {} bytes of settings", text.len());
    }
}

#[test]
fn a_refusal_cannot_control_the_terminal() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("settings.toml");
    fs::write(&path, "env = \"\\u001b]0;title\\u0007\"\n").unwrap();
    let unreadable = folder.path().join("no\u{1b}]0;title\u{7}.toml");
    for path in [path, unreadable] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_impala"));
        let output = command.args(["train", "--config"]).arg(&path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(!said.trim_end().contains(char::is_control), "{said:?}");
        assert!(said.contains("\\u{1b}]0;title\\u{7}"), "{said}");
    }
}

// Checkpoints

fn checkpoint() -> Checkpoint {
    let network = NetworkSpec::mlp(4, &[8, 6], 2);
    let params = ParamLayout::new(&network).init(3);
    let optimizer = OptimizerState { n_steps: 7, square: params.clone(), mean: params.clone() };
    let counters = Counters { frames: 1_000, updates: 7, ..Counters::default() };
    let recent_returns = [0.0; SCORE_WINDOW];
    let return_stats = ReturnStats { n: 1_000.0, mean: 20.0, square_sum: 5e4 };
    let state = LearnerState { counters, recent_returns, return_stats, params, optimizer };
    let spec = Config::default().spec().unwrap();
    Checkpoint { spec, network, state, settings: "seed = 1".into(), elapsed_ns: 9 }
}

/// The bytes of a sound checkpoint.
fn checkpoint_bytes() -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    checkpoint().save(&path).unwrap();
    fs::read(path).unwrap()
}

/// A safetensors file with this header and so many bytes of data.
fn with_header(header: &str, n_data_bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(vec![0; n_data_bytes]);
    file
}

/// Reads a checkpoint: refused with a message, or sound to its last number.
fn check_checkpoint(bytes: &[u8]) -> Result<Checkpoint, String> {
    let (result, peak) = peak_of(|| Checkpoint::read(Path::new("made-up"), bytes));
    assert!(peak < SMALL_BYTES + 16 * bytes.len(), "{peak} bytes for {}", bytes.len());
    match result {
        Ok(checkpoint) => {
            let params = &checkpoint.state.params;
            assert_eq!(params.len(), ParamLayout::new(&checkpoint.network).len());
            assert!(checkpoint.state.is_finite());
            Ok(checkpoint)
        }
        Err(error) => {
            assert!(error.to_string().starts_with("made-up: "), "{error}");
            Err(error.to_string())
        }
    }
}

#[test]
fn a_checkpoint_cut_anywhere_is_refused() {
    let bytes = checkpoint_bytes();
    assert_eq!(check_checkpoint(&bytes).unwrap(), checkpoint());
    for length in 0..bytes.len() {
        check_checkpoint(&bytes[..length]).unwrap_err();
    }
    println!("cut at {} places, each refused", bytes.len());
}

/// Where a text begins in a file, at or after this place.
fn find(bytes: &[u8], text: &str, from: usize) -> usize {
    let at = bytes[from..].windows(text.len()).position(|window| window == text.as_bytes());
    from + at.unwrap_or_else(|| panic!("there is no {text}"))
}

/// The same file with a checksum of its own, made as `docs/checkpoints.md` says.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    const KEY: &str = "\"checksum\":\"";
    let digits = find(&bytes, KEY, 0) + KEY.len();
    bytes[digits..digits + 16].fill(b'0');
    let sum = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes));
    bytes[digits..digits + 16].copy_from_slice(sum.as_bytes());
    bytes
}

/// A sound checkpoint in whose header, after `key`, one text is another of the same length.
fn with_header_text(key: &str, old: &str, new: &str) -> Vec<u8> {
    let mut bytes = checkpoint_bytes();
    let at = find(&bytes, old, find(&bytes, key, 0));
    bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    sealed(bytes)
}

/// Its checksum is right, so that nothing but its content can give it away.
#[test]
fn a_sealed_checkpoint_of_another_version_or_shape_is_refused_with_what_differs() {
    assert_eq!(sealed(checkpoint_bytes()), checkpoint_bytes(), "sealed as the engine does");
    for (key, old, new, said) in [
        (
            "\"format\":",
            "impala-3",
            "impala-1",
            "format is `impala-1`, this version reads `impala-3`",
        ),
        (
            "\"torso.2.weight\":",
            "[6,8]",
            "[8,6]",
            "torso.2.weight` is F32 [8, 6], expected F32 [6, 8]",
        ),
        (
            "\"policy.weight\":",
            "[2,6]",
            "[6,2]",
            "policy.weight` is F32 [6, 2], expected F32 [2, 6]",
        ),
        (
            "\"optimizer.square.torso.0.weight\":",
            "[8,4]",
            "[4,8]",
            "is F32 [4, 8], expected F32 [8, 4]",
        ),
        ("\"value.bias\":", "F32", "I32", "`value.bias` is I32 [1], expected F32 [1]"),
        ("\"recent_returns\":", "F64", "I64", "`recent_returns` is I64 [100], expected F64 [100]"),
        ("\"optimizer.mean.value.bias\":", "bias", "bios", "it has no `optimizer.mean.value.bias`"),
        ("\"spec\":", "spec", "spek", "its metadata has no `spec`"),
        ("\"spec\":", "obs", "abs", "`spec` in its metadata cannot be read: "),
        ("\"network\":", "[8,6]", "[8,7]", "torso.2.weight` is F32 [6, 8], expected F32 [7, 8]"),
        ("\"frames\":", "1000", "1e99", "`frames` in its metadata is `1e99`, not a number"),
    ] {
        let message = check_checkpoint(&with_header_text(key, old, new)).unwrap_err();
        assert!(message.contains(said), "{message}");
    }
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("endless.safetensors");
    Checkpoint { elapsed_ns: u64::MAX, ..checkpoint() }.save(&path).unwrap();
    let message = Checkpoint::load(&path).unwrap_err().to_string();
    assert!(
        message.contains("`elapsed_ns` in its metadata is `18446744073709551615`"),
        "{message}"
    );
}

#[test]
fn a_checkpoint_that_claims_a_huge_network_is_refused_by_its_header() {
    let tensor = |name: &str, shape: &str, begin: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    // Of the format whose network follows from the shapes of its tensors.
    let metadata = r#""__metadata__":{"format":"impala-2","env":"CartPole-v1"}"#;
    let file =
        |tensors: &[String]| with_header(&format!("{{{metadata},{}}}", tensors.join(",")), 0);
    let huge = 1u64 << 40;
    for (tensors, said) in [
        // As many values as its offsets say, none of them in the file.
        (
            vec![
                tensor("torso.0.weight", "[1099511627776,1]", 0, 4 * huge),
                tensor("policy.weight", "[2,1]", 4 * huge, 4 * huge + 8),
            ],
            "a layer of 1099511627776 units",
        ),
        // Shapes of no values are honest about their bytes, and overflow in a product with another.
        (
            vec![
                tensor("torso.0.weight", "[1099511627776,0]", 0, 0),
                tensor("policy.weight", "[1099511627776,0]", 0, 0),
            ],
            "a layer of",
        ),
        // Each layer could be, all of them together are too many.
        (
            (0..16u64)
                .map(|k| {
                    let n_bytes = 4 << 28;
                    let name = format!("torso.{}.weight", 2 * k);
                    tensor(&name, "[16384,16384]", k * n_bytes, (k + 1) * n_bytes)
                })
                .chain([tensor("policy.weight", "[0,16384]", 64 << 28, 64 << 28)])
                .collect(),
            "a layer of 0 units",
        ),
        // A network that could be, beside a tensor of another name that could not.
        (
            vec![
                tensor("torso.0.weight", "[1,1]", 0, 4),
                tensor("policy.weight", "[1,1]", 4, 8),
                tensor("junk", "[1099511627776]", 8, 8 + 4 * huge),
            ],
            "too many for its network",
        ),
    ] {
        let message = check_checkpoint(&file(&tensors)).unwrap_err();
        assert!(message.contains(said), "{message}");
    }
    // Of the format that names its network.
    let claim = serde_json::to_string(&NetworkSpec::mlp(4, &[1 << 40, 8], 2)).unwrap();
    let spec = serde_json::to_string(&checkpoint().spec).unwrap();
    let named = serde_json::json!({
        "__metadata__": {"format": "impala-3", "spec": spec, "network": claim},
    });
    let message = check_checkpoint(&with_header(&named.to_string(), 0)).unwrap_err();
    assert!(message.contains("its network has a layer of 1099511627776 units"), "{message}");
    let message = check_checkpoint(&u64::MAX.to_le_bytes()).unwrap_err();
    assert!(message.contains("not a safetensors file"), "{message}");
}

#[test]
fn a_checkpoint_whose_header_is_nested_too_deep_is_refused() {
    let depth = 100_000;
    let header = format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let message = check_checkpoint(&with_header(&header, 0)).unwrap_err();
    assert!(message.contains("not a safetensors file"), "{message}");
}

#[test]
fn a_sparse_file_is_not_read_as_a_checkpoint() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("sparse.safetensors");
    fs::write(&path, checkpoint_bytes()).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 42).unwrap();
    let (error, peak) = peak_of(|| Checkpoint::load(&path).unwrap_err());
    assert!(error.to_string().contains("more than the"), "{error}");
    assert!(peak < SMALL_BYTES, "{peak} bytes");
    let claims_a_long_header = (1u64 << 26).to_le_bytes();
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .write_all_at(&claims_a_long_header, 0)
        .unwrap();
    let (error, peak) = peak_of(|| Checkpoint::load(&path).unwrap_err());
    assert!(error.to_string().contains("not a safetensors file"), "{error}");
    assert!(peak < SMALL_BYTES, "{peak} bytes");
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn damaged_checkpoints_are_refused_or_sound(damage in prop::collection::vec(Damage::any(), 1..4)) {
        let mut bytes = checkpoint_bytes();
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        let _ = check_checkpoint(&bytes);
    }

    #[test]
    fn headers_of_any_shapes_are_refused_or_sound(
        shapes in prop::collection::vec(prop::collection::vec(0..5u64, 0..4), 1..9),
        n_data_bytes in 0..600usize,
    ) {
        let names = ["torso.0.weight", "torso.0.bias", "torso.2.weight", "torso.2.bias",
            "policy.weight", "policy.bias", "value.weight", "value.bias"];
        let mut end = 0;
        let tensors: Vec<String> = names.iter().zip(&shapes).map(|(name, shape)| {
            let begin = end;
            end += 4 * shape.iter().product::<u64>();
            format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
        }).collect();
        let _ = check_checkpoint(&with_header(&format!("{{{}}}", tensors.join(",")), n_data_bytes));
    }
}

// Run folders

/// The report of a run whose files were damaged: a page, whatever is left to show.
fn check_report(run: &RunDir) {
    let (page, peak) = peak_of(|| report::render(run, Pictures::Svg, &mut |_| ()));
    let page = fs::read_to_string(page.unwrap()).unwrap();
    assert!(page.contains("</html>"));
    assert!(peak < 64 << 20, "{peak} bytes");
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn damaged_runs_have_a_report(
        damage in prop::collection::vec((0..8usize, Damage::any()), 1..6)
    ) {
        let folder = TempDir::new().unwrap();
        let run = synthetic_run::write(&folder.path().join("run"), 30, |_| ());
        checkpoint().save(&run.checkpoint()).unwrap();
        fs::write(run.observation(), b"\x89PNG\r\n\x1a\n and more").unwrap();
        let files = [
            run.meta(), run.config(), run.metrics(), run.latency(), run.summary(), run.processes(),
            run.checkpoint(), run.observation(),
        ];
        for (file, damage) in damage {
            let mut bytes = fs::read(&files[file]).unwrap();
            damage.apply(&mut bytes);
            fs::write(&files[file], bytes).unwrap();
        }
        check_report(&run);
    }

    #[test]
    fn logs_of_damaged_histograms_have_a_report(
        damage in prop::collection::vec(Damage::any(), 1..4), packs in any::<bool>()
    ) {
        let folder = TempDir::new().unwrap();
        let run = synthetic_run::write(&folder.path().join("run"), 30, |_| ());
        let log = fs::read_to_string(run.latency()).unwrap();
        let lines = log.lines().map(|line| damaged_interval(line, &damage, packs));
        fs::write(run.latency(), lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
        check_report(&run);
    }
}

/// A line of the log whose histogram is damaged before it is encoded, or before it is packed and encoded,
/// so that the damage passes the checks of the outer formats.
fn damaged_interval(line: &str, damage: &[Damage], packs: bool) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let Some((start, histogram)) = line.rsplit_once(',').filter(|_| line.starts_with("Tag="))
    else {
        return line.to_owned();
    };
    let mut packed = STANDARD.decode(histogram).unwrap();
    if packs {
        let mut bytes = unpack(&packed);
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        packed = pack(&bytes);
    } else {
        damage.iter().for_each(|damage| damage.apply(&mut packed));
    }
    format!("{start},{}", STANDARD.encode(packed))
}

fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut unpacking = flate2::read::ZlibDecoder::new(&packed[8..]);
    std::io::Read::read_to_end(&mut unpacking, &mut bytes).unwrap();
    bytes
}

/// A compressed histogram in HdrHistogram's format: cookie, length, deflated bytes.
fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packing = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packing, bytes).unwrap();
    let deflated = packing.finish().unwrap();
    let mut packed = 0x1c84_9314u32.to_be_bytes().to_vec();
    packed.extend((deflated.len() as u32).to_be_bytes());
    packed.extend(deflated);
    packed
}

/// A log of one interval with this histogram.
fn write_interval(run: &RunDir, histogram: &[u8]) {
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(pack(histogram));
    fs::write(run.latency(), format!("Tag=wait,0.0,1.0,1.0,{encoded}\n")).unwrap();
}

/// A histogram's bytes: what its header says about length and digits, and its counts.
fn histogram(n_bytes: u32, n_digits: u32, counts: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0x1c84_9313, n_bytes, 0, n_digits] {
        bytes.extend(u32::to_be_bytes(word));
    }
    bytes.extend(1u64.to_be_bytes());
    bytes.extend(u64::MAX.to_be_bytes());
    bytes.extend(1f64.to_be_bytes());
    bytes.extend(counts);
    bytes
}

#[test]
fn histograms_that_would_exhaust_or_overflow_are_left_out_and_named() {
    let folder = TempDir::new().unwrap();
    let run = synthetic_run::write(&folder.path().join("run"), 30, |_| ());
    let bomb = vec![0; 64 << 20];
    let largest_count = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for (bytes, said) in [
        (histogram(u32::MAX, 2, &[2]), "not as long as it says"),
        (histogram(1, 5, &[2]), "more than 3 digits"),
        (histogram(9, 2, &[0xff; 9]), "impossible count"),
        (histogram(9, 2, &largest_count), "measurements"),
        (histogram(bomb.len() as u32, 2, &bomb), "cannot be unpacked"),
        (pack(&histogram(1, 2, &[2])), "another format"),
    ] {
        write_interval(&run, &bytes);
        check_report(&run);
        let page = fs::read_to_string(run.report()).unwrap();
        assert!(page.contains(said), "{said:?} is not on the page");
    }
    write_interval(&run, &histogram(1, 2, &[2]));
    check_report(&run);
    let page = fs::read_to_string(run.report()).unwrap();
    assert!(!page.contains("unreadable interval"), "a sound histogram made the same way is read");
}

#[test]
fn a_run_folder_of_pipes_and_folders_has_a_report() {
    let folder = TempDir::new().unwrap();
    let run = synthetic_run::write(&folder.path().join("run"), 30, |_| ());
    fs::remove_file(run.metrics()).unwrap();
    nix::unistd::mkfifo(&run.metrics(), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::remove_file(run.config()).unwrap();
    fs::create_dir(run.config()).unwrap();
    fs::remove_file(run.latency()).unwrap();
    std::os::unix::fs::symlink("/dev/zero", run.latency()).unwrap();
    std::os::unix::fs::symlink("/dev/zero", run.observation()).unwrap();
    fs::create_dir(run.checkpoint()).unwrap();
    check_report(&run);
    let page = fs::read_to_string(run.report()).unwrap();
    assert_eq!(page.matches("it is not an ordinary file").count(), 4);
    assert!(page.contains("checkpoint.safetensors: what was trained is not said"));
}

/// What is read beside the report: the note of a live run, and the log of one that is resumed.
#[test]
fn notes_and_logs_are_read_up_to_a_bound_only() {
    let folder = TempDir::new().unwrap();
    let run = synthetic_run::write(&folder.path().join("run"), 30, |_| ());
    checkpoint().save(&run.checkpoint()).unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let endless = folder.path().join("endless");
    fs::File::create(&endless).unwrap().set_len(1 << 42).unwrap();
    let link_to = |target: &Path, link: PathBuf| {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
    };
    for target in [pipe.as_path(), endless.as_path(), Path::new("/dev/zero")] {
        link_to(target, run.live());
        let (error, peak) = peak_of(|| LiveRun::attach(&run).err().unwrap().to_string());
        assert!(error.contains("live.json: it "), "{error}");
        assert!(peak < SMALL_BYTES, "{peak} bytes");
    }
    for target in [pipe.as_path(), Path::new("/dev/zero")] {
        link_to(target, run.latency());
        let resumption = Resumption::open(run.path()).unwrap();
        let (records, peak) = peak_of(|| resumption.records());
        assert_eq!(records.latency_lines, "", "{}", target.display());
        assert!(peak < SMALL_BYTES, "{peak} bytes");
    }
}

// Segments

/// Magic, size and hash of the layout.
const SEGMENT_HEADER_BYTES: usize = 24;

proptest! {
    #![proptest_config(cases(200))]

    /// As one who looks on finds it: board and rings may say anything, the header only what it should.
    #[test]
    fn damaged_segments_are_refused_or_looked_into(
        damage in prop::collection::vec(Damage::any(), 0..4),
        in_header in prop::option::of(0..8 * SEGMENT_HEADER_BYTES),
    ) {
        let rollout = RolloutShape::of_numbers(2, 1, 4);
        let shape =
            SegmentShape { n_actors: 2, slots_per_actor: 2, n_params: 7, n_moments: 1, rollout };
        let mut sound = Vec::new();
        let mut file = Segment::create(&shape).unwrap().take_view_file().unwrap();
        std::io::Read::read_to_end(&mut file, &mut sound).unwrap();
        let mut bytes = sound.clone();
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        if let Some(bit) = in_header.filter(|bit| bit / 8 < bytes.len()) {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &bytes).unwrap();
        let is_sound = bytes.len() >= sound.len()
            && bytes[..SEGMENT_HEADER_BYTES] == sound[..SEGMENT_HEADER_BYTES];
        match SegmentView::attach(file.path(), &shape) {
            Ok(view) => {
                assert!(is_sound, "a wrong header or size was taken");
                assert_eq!((view.actors().len(), view.rings().len()), (2, 2));
                let _ = (view.learner(), view.updates(), view.stop_ordered());
            }
            Err(error) => {
                assert!(matches!(error, SegmentError::Header { .. }), "{error}");
                assert!(!is_sound, "a sound segment was refused");
            }
        }
    }
}
