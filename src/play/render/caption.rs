//! What stands below every scene: environment, score, step, and the policy's probability of each action.

use super::super::{Choice, Moment};
use super::canvas::{Canvas, HEIGHT_PX, Ink, SCENE_BOTTOM, Size, WIDTH_PX};

const MARGIN_PX: f32 = 14.0;
const BAR_PX: (f32, f32) = (150.0, 10.0);
/// From one action to the next; of many actions less.
const ROW_PX: f32 = 18.0;

/// Above the first action and below the last one at least.
const EDGE_PX: f32 = 4.0;

/// Score and step stand below one another, this far from their names' beginning.
const NUMBERS_LEFT_PX: u32 = 64;

/// More actions than this do not fit below one another; the most probable ones are shown.
const MAX_ROWS: usize = 6;

/// Draws the caption; an action without a name is called by its number.
pub fn draw(canvas: &mut Canvas, env: &str, actions: &[&str], moment: &Moment) {
    canvas.rectangle(
        (0.0, SCENE_BOTTOM),
        (WIDTH_PX as f32, HEIGHT_PX as f32 - SCENE_BOTTOM),
        Ink::Paper,
    );
    canvas.rectangle((0.0, SCENE_BOTTOM), (WIDTH_PX as f32, 1.0), Ink::Pale);
    let (left, top) = (MARGIN_PX as u32, SCENE_BOTTOM as u32 + 12);
    canvas.text((left, top), env, Size::Small, Ink::Grey);
    for (row_top, name, number, size, ink) in [
        (top + 24, "score", moment.score.to_string(), Size::Large, Ink::Black),
        (top + 50, "step", moment.step.to_string(), Size::Small, Ink::Grey),
    ] {
        canvas.text((left, row_top), name, size, ink);
        canvas.text((left + NUMBERS_LEFT_PX, row_top), &number, size, ink);
    }
    match &moment.choice {
        Some(choice) => draw_choice(canvas, actions, choice),
        None => {
            let text = "episode over";
            let left = WIDTH_PX as f32 - MARGIN_PX - text.len() as f32 * Size::Large.char_px();
            canvas.text((left as u32, top + 24), text, Size::Large, Ink::Black);
        }
    }
}

fn draw_choice(canvas: &mut Canvas, actions: &[&str], choice: &Choice) {
    let shown = shown(choice);
    let n_rows = shown.len();
    let bar_left = WIDTH_PX as f32 - MARGIN_PX - 5.0 * Size::Small.char_px() - BAR_PX.0;
    let height = HEIGHT_PX as f32 - SCENE_BOTTOM;
    let row_px = ROW_PX.min((height - 2.0 * EDGE_PX) / n_rows as f32).floor();
    let first_top = SCENE_BOTTOM + (height - n_rows as f32 * row_px) / 2.0;
    for (row, action) in shown.into_iter().enumerate() {
        let (top, prob) = (first_top + row as f32 * row_px, choice.probs[action]);
        let name = actions.get(action).map_or(format!("action {action}"), |name| (*name).into());
        let is_taken = action == choice.action;
        let ink = if is_taken { Ink::Black } else { Ink::Grey };
        let name_left = bar_left - (name.len() + 1) as f32 * Size::Small.char_px();
        canvas.text((name_left as u32, top as u32), &name, Size::Small, ink);
        let bar_top = top + (16.0 - BAR_PX.1) / 2.0;
        canvas.rectangle((bar_left, bar_top), BAR_PX, Ink::Pale);
        let ink_of_bar = if is_taken { Ink::Blue } else { Ink::Grey };
        let length = (BAR_PX.0 * prob).round();
        canvas.rectangle((bar_left, bar_top), (length, BAR_PX.1), ink_of_bar);
        let number_left = bar_left + BAR_PX.0 + Size::Small.char_px();
        canvas.text((number_left as u32, top as u32), &format!("{prob:.2}"), Size::Small, ink);
    }
}

/// The actions that have a row, in their order: the one that is taken, and the most probable others.
fn shown(choice: &Choice) -> Vec<usize> {
    let mut actions: Vec<usize> = (0..choice.probs.len()).collect();
    let others_last = |action: &usize| *action != choice.action;
    actions.sort_by(|a, b| choice.probs[*b].total_cmp(&choice.probs[*a]));
    actions.sort_by_key(others_last);
    actions.truncate(MAX_ROWS);
    actions.sort_unstable();
    actions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_actions_the_one_taken_and_the_most_probable_have_a_row() {
        let probs = vec![0.2, 0.01, 0.1, 0.15, 0.02, 0.14, 0.18, 0.11, 0.09];
        let choice = |action| Choice { action, probs: probs.clone() };
        assert_eq!(shown(&choice(0)), [0, 2, 3, 5, 6, 7]);
        assert_eq!(shown(&choice(1)), [0, 1, 3, 5, 6, 7], "however improbable");
        assert_eq!(shown(&Choice { action: 1, probs: vec![0.5; 2] }), [0, 1]);
    }
}
