//! The pages as a reader meets them: opened in a browser, without a script error, each plot with its data,
//! and the values under the pointer.
//!
//! Skipped, loudly, where there is no Chromium (Debian, Ubuntu: `apt install chromium`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use impala::report::{self, Pictures};
use serde::Deserialize;
use tempfile::TempDir;

mod synthetic_run;

const BROWSERS: [&str; 4] =
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// Remembers script errors from the first line on.
const LISTENER: &str =
    "<script>const errors = []; addEventListener('error', (e) => errors.push(e.message));</script>";

/// Points at the middle of every drawing, under both positions of the switch, and writes down what is seen.
const PROBE: &str = r#"<script>
const seen = {};
for (const x of ["frames", "seconds"]) {
  document.getElementById("x-" + x).click();
  for (const view of document.querySelectorAll(".view")) {
    if (!view.checkVisibility()) continue;
    const svg = view.querySelector("svg"), box = svg.getBoundingClientRect();
    const at = { bubbles: true, clientX: box.left + box.width * 0.6, clientY: box.top + box.height / 2 };
    svg.dispatchEvent(new PointerEvent("pointermove", at));
    const tip = document.querySelector(".tip");
    const rows = [...tip.children].map((row) => [...row.children].slice(1).map((part) => part.textContent));
    const marks = view.querySelectorAll(".marks line").length;
    view.dispatchEvent(new PointerEvent("pointerleave"));
    seen[view.id] = { x, points: +view.dataset.points, rows, marks, hidden_after: tip.hidden };
  }
}
const pre = document.body.appendChild(document.createElement("pre"));
pre.id = "probe";
pre.textContent = btoa(unescape(encodeURIComponent(JSON.stringify({ errors, seen }))));
</script>"#;

/// What the probe saw.
#[derive(Deserialize)]
struct Probed {
    errors: Vec<String>,
    seen: BTreeMap<String, Seen>,
}

#[derive(Deserialize)]
struct Seen {
    /// Position of the switch at which the drawing was visible.
    x: String,
    points: usize,
    /// Name and value of each line of the tip.
    rows: Vec<(String, String)>,
    marks: usize,
    hidden_after: bool,
}

fn browser() -> Option<PathBuf> {
    let folders: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let paths = BROWSERS.iter().flat_map(|name| folders.iter().map(move |f| f.join(name)));
    let found = paths.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!(
            "SKIPPED: opening the report: no Chromium here (Debian, Ubuntu: apt install chromium)"
        );
    }
    found
}

/// Opens a page with the probe in it.
fn open(browser: &Path, page: &Path) -> Probed {
    let folder = TempDir::new().unwrap();
    let html = fs::read_to_string(page).unwrap();
    let html = html.replacen("<head>", &format!("<head>{LISTENER}"), 1);
    let html = html.replacen("</body>", &format!("{PROBE}</body>"), 1);
    let probed = folder.path().join("probed.html");
    fs::write(&probed, html).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .args(["--disable-dev-shm-usage", "--window-size=1280,1000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("file://{}", probed.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout);
    let found =
        dom.split_once("<pre id=\"probe\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    let (encoded, _) = found.unwrap_or_else(|| panic!("the probe did not run: {stderr}"));
    let json = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    serde_json::from_slice(&json).unwrap()
}

/// Every drawing has data and a tip, under the right position of the switch, and no more than one drawing of
/// a plot is visible at a time.
fn assert_whole(probed: &Probed, n_drawings: usize) {
    assert_eq!(probed.errors, [""; 0]);
    assert_eq!(probed.seen.len(), n_drawings, "{:?}", probed.seen.keys());
    for (id, seen) in &probed.seen {
        assert!(seen.points > 0, "{id} has no data");
        assert!(seen.rows.len() > 1, "{id}: {:?}", seen.rows);
        assert!(seen.rows.iter().all(|(_, value)| !value.is_empty()), "{id}: {:?}", seen.rows);
        assert!(!seen.rows.iter().any(|(_, value)| value.contains("NaN")), "{id}: {:?}", seen.rows);
        assert!(seen.marks > 0 && seen.hidden_after, "{id}");
        for x in ["frames", "seconds"] {
            assert!(
                !id.ends_with(x) || seen.x == x,
                "{id} was visible with the switch at {}",
                seen.x
            );
        }
    }
}

#[test]
fn the_page_of_a_run() {
    let Some(browser) = browser() else { return };
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 200, |_| ());
    let page = report::render(&run, Pictures::Svg, &mut |_| ()).unwrap();
    let probed = open(&browser, &page);
    assert_whole(&probed, fs::read_dir(run.plots()).unwrap().count());
    let rate = &probed.seen["learning_rate_frames"].rows;
    let (frames, value) = (&rate[0].1, &rate[1].1);
    // The rate falls linearly to a twentieth of 0.002 over all of the run's 640k frames.
    let frames: f64 = frames.trim_end_matches('k').parse::<f64>().unwrap() * 1e3;
    let expected = 2e-3 * (1.0 - frames / 640_000.0);
    let value: f64 = value.parse().unwrap();
    assert!((value / expected - 1.0).abs() < 0.02, "{value} at {frames} frames, not {expected}");
    let names: Vec<&str> = probed.seen["score_seconds"].rows.iter().map(|r| r.0.as_str()).collect();
    assert_eq!(names[0], "time since the start, s");
    assert!(names.contains(&"lowest to highest") && names.contains(&"interval mean"), "{names:?}");
}

#[test]
fn the_page_that_compares_runs() {
    let Some(browser) = browser() else { return };
    let root = TempDir::new().unwrap();
    let runs = ["a", "b"].map(|name| synthetic_run::write(&root.path().join(name), 60, |_| ()));
    let page = report::compare(&runs, root.path(), Pictures::Svg, &mut |_| ()).unwrap();
    let n_drawings = fs::read_dir(root.path().join("plots")).unwrap().count();
    assert_whole(&open(&browser, &page), n_drawings);
}

/// The tests above see an error and a missing number: here they have both.
#[test]
fn a_broken_page_is_noticed() {
    let Some(browser) = browser() else { return };
    let root = TempDir::new().unwrap();
    let run = synthetic_run::write(&root.path().join("run"), 20, |row| row.kl = Some(f64::NAN));
    let page = report::render(&run, Pictures::Svg, &mut |_| ()).unwrap();
    assert_eq!(open(&browser, &page).seen["kl_frames"].points, 0);
    let html = fs::read_to_string(&page).unwrap();
    fs::write(&page, html.replacen("})();", "})(); missing();", 1)).unwrap();
    let probed = open(&browser, &page);
    assert!(probed.errors.iter().any(|error| error.contains("missing")), "{:?}", probed.errors);
}
