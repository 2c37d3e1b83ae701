//! How answers are shown: labels where there are some, and otherwise what there is.

use crate::exit::{ExitCode, Failure, Phase};
use crate::report::Report;
use serde::Serialize;
use twoply_nn::Meaning;
use twoply_nn::roles::Answer;

/// The JSON result: the report of every run, with the answers.
#[derive(Serialize)]
pub(in crate::cli) struct Shown<'a> {
    #[serde(flatten)]
    pub report: &'a Report,
    /// What the output means.
    pub output: &'a Meaning,
    /// Files of the images of a folder; null for a file.
    pub names: Option<&'a [String]>,
    /// Null where the output has no labels.
    pub labels: Option<Vec<usize>>,
    /// The outputs of every image; null when only labels are revealed.
    pub logits: Option<&'a [Vec<f64>]>,
}

/// Puts report and answer together.
pub(in crate::cli) fn shown<'a>(report: &'a Report, output: &'a Meaning, answer: &'a Answer) -> Shown<'a> {
    let logits = match answer {
        Answer::Logits(rows) => Some(&rows[..]),
        Answer::Labels(_) => None,
    };
    Shown { report, output, names: None, labels: output.labels(answer), logits }
}

/// A line per image: its label; the label and the score it was taken from; or all values.
pub(in crate::cli) fn lines(output: &Meaning, answer: &Answer) -> Vec<String> {
    let rows = match answer {
        Answer::Labels(labels) => return labels.iter().map(usize::to_string).collect(),
        Answer::Logits(rows) => rows,
    };
    let all = |row: &[f64]| row.iter().map(|v| format!("{v:.6}")).collect::<Vec<_>>().join(" ");
    let line = |row: &Vec<f64>| match (output, output.label(row)) {
        (Meaning::Score, Some(label)) => format!("{label}\t{}", all(row)),
        (_, Some(label)) => label.to_string(),
        (_, None) => all(row),
    };
    rows.iter().map(line).collect()
}

/// Puts the files' names behind the lines of their images.
pub(in crate::cli) fn name(lines: &mut [String], names: Option<&[String]>) {
    for (line, name) in lines.iter_mut().zip(names.unwrap_or_default()) {
        // No character of a name may break the line, or act on the terminal.
        let name = name.chars().map(|c| if c.is_control() { '?' } else { c });
        line.extend(std::iter::once('\t').chain(name));
    }
}

/// What a reader of these lines must know beside them, if anything.
pub(in crate::cli) fn words(output: &Meaning, answer: &Answer) -> Option<String> {
    match (output, answer) {
        (Meaning::Score, Answer::Logits(_)) => Some(
            "one score per image: class 1 where it is above 0, otherwise class 0; class and score a line"
                .into(),
        ),
        (Meaning::Values { .. }, Answer::Logits(_)) => {
            Some(format!("{}; its values a line, row by row", output.no_labels().unwrap_or_default()))
        }
        _ => None,
    }
}

/// Refuses true labels for outputs that have none.
///
/// # Errors
/// 15 where `asked` and there is nothing to compare them with.
pub(in crate::cli) fn comparable(output: &Meaning, asked: bool) -> Result<(), Failure> {
    match output.no_labels() {
        Some(why) if asked => Err(Failure::new(ExitCode::Model, why)
            .remedy("leave out --labels; --format json has the values and their shape")
            .during(Phase::Import)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_labels_scores_or_values() {
        let rows = Answer::Logits(vec![vec![0.25, 1.5]]);
        assert_eq!(lines(&Meaning::Classes { classes: 2 }, &rows), ["1"]);
        assert_eq!(words(&Meaning::Classes { classes: 2 }, &rows), None);
        let map = Meaning::Values { shape: vec![1, 1, 2] };
        assert_eq!(lines(&map, &rows), ["0.250000 1.500000"]);
        assert!(words(&map, &rows).unwrap().contains("[1, 1, 2]"));
        let scores = Answer::Logits(vec![vec![0.25], vec![-1.0]]);
        assert_eq!(lines(&Meaning::Score, &scores), ["1\t0.250000", "0\t-1.000000"]);
        assert!(words(&Meaning::Score, &scores).unwrap().contains("above 0"));
        assert_eq!(lines(&Meaning::Classes { classes: 2 }, &Answer::Labels(vec![1, 0])), ["1", "0"]);
        let report = Report::default();
        let json = serde_json::to_value(shown(&report, &map, &rows)).unwrap();
        assert!(json["labels"].is_null(), "{json}");
        assert_eq!(json["output"], serde_json::json!({"kind": "values", "shape": [1, 1, 2]}));
    }

    #[test]
    fn names_stand_behind_labels_and_scores() {
        let mut lines = vec!["3".to_owned(), "1\t0.250000".to_owned()];
        name(&mut lines, None);
        assert_eq!(lines, ["3", "1\t0.250000"]);
        name(&mut lines, Some(&["0.png".into(), "a\n\x1b[1m.png".into()]));
        assert_eq!(lines, ["3\t0.png", "1\t0.250000\ta??[1m.png"]);
    }

    #[test]
    fn true_labels_need_labels_to_compare_with() {
        let map = Meaning::Values { shape: vec![2, 4, 4] };
        let failure = comparable(&map, true).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Model);
        comparable(&map, false).unwrap();
        comparable(&Meaning::Score, true).unwrap();
    }
}
