//! `make throughput-doc`: `docs/throughput.md`, its pictures, and the tables in `results/bench/throughput.md`,
//! rendered from the committed results.
//!
//! The prose is in `throughput.md` and `tables.md` beside this file; every figure in it is looked up in the
//! JSON files of `results/bench`, so none can be stale or invented. As a test, without `--bench`, nothing is written,
//! and the committed files have to be what would be.

#[path = "../common/bars.rs"]
mod bars;
mod document;
#[path = "../common/figure.rs"]
mod figure;
#[path = "../common/ink.rs"]
mod ink;
#[path = "../common/interval.rs"]
mod interval;
mod pictures;
mod results;
mod roofline;
mod sketch;
#[path = "../common/table.rs"]
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use document::Document;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = render(root)?;
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    for (path, text) in &files {
        if is_test {
            let committed = std::fs::read_to_string(path).unwrap_or_default();
            let name = path.strip_prefix(root)?.display();
            ensure!(committed == *text, "{name} is not what make throughput-doc renders");
        } else {
            std::fs::create_dir_all(path.parent().context("a file in no folder")?)?;
            std::fs::write(path, text)?;
        }
    }
    println!("{} files {}", files.len(), if is_test { "are as rendered" } else { "written" });
    Ok(())
}

/// Every file with its text.
fn render(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let (docs, results) = (root.join("docs"), root.join("results/bench"));
    let document = Document::read(&results)?;
    let mut files = vec![
        (docs.join("throughput.md"), document.text()?),
        (results.join("throughput.md"), document.tables()?),
    ];
    for (name, picture) in pictures::all(&document)? {
        files.push((docs.join(format!("throughput/{name}.svg")), picture.svg()?));
    }
    Ok(files)
}
