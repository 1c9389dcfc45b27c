//! "Did you mean": the known name that is nearest to a mistyped one.
//!
//! Knows nothing of what is named: environments and settings ask.

/// The known name with the fewest letters to change, unless those are more than half of it.
pub fn nearest<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let distance = |known: &str| strsim::levenshtein(&known.to_lowercase(), &given);
    let nearest = known.min_by_key(|known| distance(known))?;
    (distance(nearest) <= nearest.len() / 2).then_some(nearest)
}

/// `, did you mean "…"?`, or nothing if no known name is near.
pub fn did_you_mean<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(given, known) {
        Some(known) => format!(", did you mean \"{known}\"?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_ignores_case_and_is_not_far_fetched() {
        let known = ["CartPole-v1", "MountainCar-v0", "Acrobot-v1"];
        let nearest = |given| nearest(given, known.into_iter());
        assert_eq!(nearest("cart-pole-v0"), Some("CartPole-v1"));
        assert_eq!(nearest("MOUNTAINCAR"), Some("MountainCar-v0"));
        assert_eq!(nearest("acrobat"), Some("Acrobot-v1"));
        assert_eq!(nearest("Humanoid-v5"), None);
    }
}
