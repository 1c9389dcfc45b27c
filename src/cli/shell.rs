//! Command lines as a shell takes them, for a user to copy.
//!
//! Owns the quoting. Knows no command; whoever proposes one calls it.

use std::borrow::Cow;

/// The words as one line, which a shell parts into the same words again.
pub fn line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<Cow<str>> = words.into_iter().map(quoted).collect();
    words.join(" ")
}

/// A word as it is where a shell changes nothing of it, else between quotes.
fn quoted(word: &str) -> Cow<'_, str> {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-./:=,@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', "'\\''")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_parts_a_line_into_the_same_words() {
        let words = [
            "a=1",
            "results/x-1",
            "",
            "my wrapper",
            "it's",
            "C={\"size\": 7}",
            "$HOME",
            "[64]",
            "~",
        ];
        let script = format!("printf '%s\\n' {}", line(words));
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), words.join("\n") + "\n");
        assert_eq!(line(["--env-arg", "length=5"]), "--env-arg length=5");
    }
}
