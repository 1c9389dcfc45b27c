//! What random actions score, and what a policy scores that was trained on one environment alone: between the two a
//! score of any environment has one scale.
//!
//! Of MinAtar's games, in both versions. A report of several tasks needs it.

/// Two scores of an environment.
#[derive(Clone, Copy, Debug, PartialEq)]
struct KnownScores {
    /// Mean return of random actions.
    random: f64,
    /// Mean return of training episodes at the end of a run on this environment alone.
    alone: f64,
}

impl KnownScores {
    /// A mean return where 0 is that of random actions and 1 that of a run on this environment alone.
    fn normalize(&self, score: f64) -> f64 {
        (score - self.random) / (self.alone - self.random)
    }
}

/// The game; random actions, by `impala env check`; and the median over the seeds of `results/seeds/MinAtar-*-5M.md`.
const MINATAR: [(&str, f64, f64); 5] = [
    ("Breakout", 0.48, 57.2),
    ("SpaceInvaders", 2.63, 245.8),
    ("Freeway", 0.08, 63.0),
    ("Asterix", 0.61, 40.2),
    ("Seaquest", 0.08, 93.1),
];

/// What is known of an environment.
fn known_scores(id: &str) -> Option<KnownScores> {
    let game = id.strip_prefix("MinAtar/")?;
    let game = game.strip_suffix("-v0").or_else(|| game.strip_suffix("-v1"))?;
    let (_, random, alone) = MINATAR.into_iter().find(|(name, ..)| *name == game)?;
    Some(KnownScores { random, alone })
}

/// The score of tasks together, from each one's id and score: the mean of their normalised scores. `None` where there is
/// no task, or of one nothing is known.
pub fn normalized_score<'a>(
    tasks: impl IntoIterator<Item = (&'a str, Option<f64>)>,
) -> Option<f64> {
    let normalized = |(id, score): (&str, Option<f64>)| Some(known_scores(id)?.normalize(score?));
    let of_tasks = tasks.into_iter().map(normalized).collect::<Option<Vec<f64>>>()?;
    (!of_tasks.is_empty()).then(|| of_tasks.iter().sum::<f64>() / of_tasks.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::super::{EnvArgs, Registry};
    use super::*;

    #[test]
    fn every_game_is_known_and_nothing_else() {
        for id in Registry::default().ids() {
            assert!(Registry::default().spec(id, &EnvArgs::default()).is_ok());
            assert_eq!(known_scores(id).is_some(), id.starts_with("MinAtar/"), "{id}");
        }
    }

    #[test]
    fn random_actions_are_nothing_and_a_run_alone_is_one() {
        let known = known_scores("MinAtar/Breakout-v1").unwrap();
        assert_eq!([known.random, known.alone].map(|score| known.normalize(score)), [0.0, 1.0]);
        assert_eq!(known_scores("MinAtar/Breakout-v0"), Some(known));
    }

    #[test]
    fn tasks_together_have_a_score_where_each_has_one() {
        let (alone, random) =
            (("MinAtar/Breakout-v0", Some(57.2)), ("MinAtar/Asterix-v0", Some(0.61)));
        assert_eq!(normalized_score([alone, random]), Some(0.5));
        assert_eq!(normalized_score([alone, ("MinAtar/Asterix-v0", None)]), None);
        assert_eq!(normalized_score([alone, ("CartPole-v1", Some(500.0))]), None);
        assert_eq!(normalized_score([]), None);
    }
}
