//! The curves of a check as one HTML page: no scripts, nothing from elsewhere, every text escaped.

use super::check::rows;
use crate::cli::check::page::{STYLE, escape};
use twoply_nn::train::{Compared, Point, TrainingPlan};

/// Extents of a plot, in pixels.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 200.0;

/// The page; `trouble` is what the check found wrong.
pub(super) fn page(plan: &TrainingPlan, found: &Compared, trouble: Option<&str>) -> String {
    let name = escape(&plan.graph.name);
    let verdict = match trouble {
        Some(trouble) => format!("<p class=\"trouble\">{}</p>", escape(trouble)),
        None if found.differing.is_none() => "<p>No value leaves its range; no parties ran.</p>".into(),
        None => "<p>No value leaves its range, and the parties hold what fixed point holds.</p>".into(),
    };
    let cells = |tag: &str, row: &[String]| -> String {
        row.iter().map(|text| format!("<{tag}>{}</{tag}>", escape(text))).collect()
    };
    let mut lines = rows(found).into_iter();
    let head = cells("th", &lines.next().unwrap_or_default());
    let body: String = lines.map(|row| format!("<tr>{}</tr>\n", cells("td", &row))).collect();
    let loss = plot("Loss of held-out rows", found, |p| [Some(p.loss_float), Some(p.loss_fixed)]);
    let share = |right: Option<usize>| right.map(|n| n as f64 / found.held.max(1) as f64);
    let right = plot("Share of right answers", found, |p| [share(p.right_float), share(p.right_fixed)]);
    let reach: String = found
        .reach
        .iter()
        .map(|r| {
            format!("<tr><td>{}</td><td>{}</td><td>{:.3}</td></tr>\n", escape(&r.layer), r.gate, r.largest)
        })
        .collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>twoply train check: {name}</title>\
         <style>{STYLE}polyline{{fill:none;stroke-width:2}}.float{{stroke:#47a}}.private{{stroke:#c60;stroke-dasharray:6 3}}\
         </style></head><body>\n<h1>{name}</h1>\n<p>Blue: floating point. Orange, dashed: {}.</p>\n{verdict}\n\
         <div class=\"plots\">{loss}{right}</div>\n<table><tr>{head}</tr>\n{body}</table>\n\
         <h2>How far values reached</h2>\n<p>In parts of half a wire; the contract is .5, a plan wants .25.</p>\n\
         <table><tr><th>layer</th><th>gate</th><th>reach</th></tr>\n{reach}</table>\n</body></html>\n",
        if found.differing.is_some() { "two parties" } else { "fixed point" },
    )
}

/// Two curves over the steps; nothing where there are no values.
fn plot(title: &str, found: &Compared, of: impl Fn(&Point) -> [Option<f64>; 2]) -> String {
    let values: Vec<(f64, [f64; 2])> =
        found.points.iter().filter_map(|p| Some((p.step as f64, [of(p)[0]?, of(p)[1]?]))).collect();
    let most = values.iter().flat_map(|v| v.1).fold(0.0, f64::max).max(1e-9);
    let last = values.iter().map(|v| v.0).fold(1.0, f64::max);
    if values.is_empty() {
        return String::new();
    }
    let curve = |class: &str, which: usize| {
        let at = |v: &(f64, [f64; 2])| {
            format!("{:.1},{:.1}", v.0 / last * WIDTH, HEIGHT - v.1[which] / most * (HEIGHT - 10.0))
        };
        let points: Vec<String> = values.iter().map(at).collect();
        format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "))
    };
    let tall = HEIGHT + 14.0;
    format!(
        "<figure><figcaption>{title}</figcaption><svg width=\"{WIDTH}\" height=\"{tall}\" viewBox=\"0 0 {WIDTH} {tall}\" \
         role=\"img\" aria-label=\"{title}\"><line x1=\"0\" y1=\"{HEIGHT}\" x2=\"{WIDTH}\" y2=\"{HEIGHT}\" stroke=\"#999\"/>\
         {}{}<text x=\"0\" y=\"9\">{most:.3}</text><text x=\"{}\" y=\"{}\">{last} steps</text></svg></figure>\n",
        curve("float", 0),
        curve("private", 1),
        WIDTH - 60.0,
        HEIGHT + 11.0,
    )
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::good;
    use super::*;

    #[test]
    fn curves_are_drawn_where_there_are_values() {
        let mut found = good();
        let two = plot("loss", &found, |p| [Some(p.loss_float), Some(p.loss_fixed)]);
        assert_eq!(two.matches("<polyline").count(), 2);
        assert!(two.contains("520.0,") && two.contains("9 steps"), "{two}");
        found.points.iter_mut().for_each(|p| p.right_fixed = None);
        assert_eq!(
            plot("right", &found, |p| [p.right_float.map(|n| n as f64), p.right_fixed.map(|n| n as f64)]),
            ""
        );
    }
}
