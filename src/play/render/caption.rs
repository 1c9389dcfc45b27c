//! What stands below every scene: environment, score, step, and what the policy thinks of its actions.

use super::super::{Choice, ChoicePart, Moment};
use super::canvas::{Canvas, HEIGHT_PX, Ink, SCENE_BOTTOM, Size, WIDTH_PX};
use crate::base::units::one_score;

const MARGIN_PX: f32 = 14.0;
const BAR_PX: (f32, f32) = (150.0, 10.0);
/// From one action to the next; of many actions less.
const ROW_PX: f32 = 18.0;

/// Above the first action and below the last one at least.
const EDGE_PX: f32 = 4.0;

/// Score and step stand below one another, this far from their names' beginning.
const NUMBERS_LEFT_PX: u32 = 64;

/// Half of the mark at a number that is taken, of the bar from bound to bound.
const MARK_SHARE: f32 = 0.01;

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
        (top + 24, "score", one_score(moment.score), Size::Large, Ink::Black),
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

/// What is said of an action: a line with a bar.
struct Row {
    name: String,
    is_taken: bool,
    /// What is drawn of the bar in grey, and in blue: from where to where, 0 to 1.
    grey: [f32; 2],
    blue: [f32; 2],
    number: f32,
}

/// Of an action that is one index a row for each; of several parts a row for each part.
fn rows(names: &[&str], choice: &Choice) -> Vec<Row> {
    let name = |action: usize| names.get(action).map(|name| (*name).to_owned());
    if let [ChoicePart::Index { taken, probs }] = &choice[..] {
        let row = |action: usize| {
            let (is_taken, bar) = (action == *taken, [0.0, probs[action]]);
            let (blue, grey) = if is_taken { (bar, [0.0; 2]) } else { ([0.0; 2], bar) };
            let name = name(action).unwrap_or_else(|| format!("action {action}"));
            Row { name, is_taken, grey, blue, number: probs[action] }
        };
        return shown(*taken, probs).into_iter().map(row).collect();
    }
    let row = |(part, choice): (usize, &ChoicePart)| match choice {
        ChoicePart::Index { taken, probs } => {
            let name = name(part).unwrap_or_else(|| format!("action[{part}]"));
            let (name, number) = (format!("{name} = {taken}"), probs[*taken]);
            Row { name, is_taken: true, grey: [0.0; 2], blue: [0.0, number], number }
        }
        ChoicePart::Number { taken, share, likely } => {
            let name = name(part).unwrap_or_else(|| format!("action[{part}]"));
            let blue = [share - MARK_SHARE, share + MARK_SHARE].map(|end| end.clamp(0.0, 1.0));
            Row { name, is_taken: true, grey: *likely, blue, number: *taken }
        }
    };
    choice.iter().enumerate().take(MAX_ROWS).map(row).collect()
}

fn draw_choice(canvas: &mut Canvas, actions: &[&str], choice: &Choice) {
    let rows = rows(actions, choice);
    let n_rows = rows.len();
    let bar_left = WIDTH_PX as f32 - MARGIN_PX - 5.0 * Size::Small.char_px() - BAR_PX.0;
    let height = HEIGHT_PX as f32 - SCENE_BOTTOM;
    let row_px = ROW_PX.min((height - 2.0 * EDGE_PX) / n_rows as f32).floor();
    let first_top = SCENE_BOTTOM + (height - n_rows as f32 * row_px) / 2.0;
    for (row_idx, row) in rows.into_iter().enumerate() {
        let top = first_top + row_idx as f32 * row_px;
        let ink = if row.is_taken { Ink::Black } else { Ink::Grey };
        let name_left = bar_left - (row.name.len() + 1) as f32 * Size::Small.char_px();
        canvas.text((name_left as u32, top as u32), &row.name, Size::Small, ink);
        let bar_top = top + (16.0 - BAR_PX.1) / 2.0;
        canvas.rectangle((bar_left, bar_top), BAR_PX, Ink::Pale);
        for ([from, to], ink) in [(row.grey, Ink::Grey), (row.blue, Ink::Blue)] {
            let [from, to] = [from, to].map(|share| (BAR_PX.0 * share).round());
            canvas.rectangle((bar_left + from, bar_top), (to - from, BAR_PX.1), ink);
        }
        let number_left = bar_left + BAR_PX.0 + Size::Small.char_px();
        let number = format!("{:.2}", row.number);
        canvas.text((number_left as u32, top as u32), &number, Size::Small, ink);
    }
}

/// The actions that have a row, in their order: the one that is taken, and the most probable others.
fn shown(taken: usize, probs: &[f32]) -> Vec<usize> {
    let mut actions: Vec<usize> = (0..probs.len()).collect();
    let others_last = |action: &usize| *action != taken;
    actions.sort_by(|a, b| probs[*b].total_cmp(&probs[*a]));
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
        let probs = [0.2, 0.01, 0.1, 0.15, 0.02, 0.14, 0.18, 0.11, 0.09];
        assert_eq!(shown(0, &probs), [0, 2, 3, 5, 6, 7]);
        assert_eq!(shown(1, &probs), [0, 1, 3, 5, 6, 7], "however improbable");
        assert_eq!(shown(1, &[0.5; 2]), [0, 1]);
    }

    #[test]
    fn an_action_of_parts_has_a_row_a_part() {
        let index = ChoicePart::Index { taken: 2, probs: vec![0.1, 0.2, 0.7] };
        let number = ChoicePart::Number { taken: -1.5, share: 0.125, likely: [0.0, 0.4] };
        let rows = rows(&[], &vec![index, number.clone()]);
        let said: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.number)).collect();
        assert_eq!(said, [("action[0] = 2", 0.7), ("action[1]", -1.5)]);
        assert_eq!((rows[0].blue, rows[1].grey), ([0.0, 0.7], [0.0, 0.4]));
        assert!(rows[1].blue[0] < 0.125 && rows[1].blue[1] > 0.125);
        assert_eq!(super::rows(&["torque"], &vec![number])[0].name, "torque");
    }
}
