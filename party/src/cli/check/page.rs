//! The report of a check as one HTML page: no scripts, nothing from elsewhere, every text escaped.

use std::fmt::Write;
use twoply_nn::Accuracy;
use twoply_nn::accuracy::{BINS, Layer};

/// Extents of a plot, in pixels.
const WIDTH: usize = 18 * BINS;
const HEIGHT: usize = 80;

/// The style of all pages.
pub(in crate::cli) const STYLE: &str = "body{font:14px/1.5 sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222}\
table{border-collapse:collapse}th,td{padding:.15em .6em;text-align:right;border-bottom:1px solid #ddd}\
th:first-child,td:first-child{text-align:left}.bad{background:#fdd}.trouble{color:#a00;white-space:pre-wrap}\
.plots{display:flex;flex-wrap:wrap;gap:1.5em}figure{margin:0}rect{fill:#47a}text{font:9px sans-serif;fill:#555}";

/// The page; `trouble` is what the check found wrong.
pub(super) fn page(graph: &str, found: &Accuracy, trouble: Option<&str>) -> String {
    let name = escape(graph);
    let (images, n, f) = (found.images, found.ring, found.fraction);
    let labels = match found.labels {
        Some(labels) => format!(
            "Labels that agree, of {images}: float and fixed point {}, fixed point and two parties {}, float and two \
             parties {}.",
            labels.float_fixed, labels.fixed_private, labels.float_private
        ),
        None => "The output is no vector of classes: there are no labels to compare.".to_owned(),
    };
    let verdict = match trouble {
        Some(trouble) => format!("<p class=\"trouble\">{}</p>", escape(trouble)),
        None => "<p>Nothing leaves the ring, and no layer loses precision.</p>".into(),
    };
    let plots: String = found.layers.iter().map(plot).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>twoply check: {name}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{name}</h1>\n\
         <p>{images} images, ring {n} bits, fraction {f} bits; 1 ulp = 2<sup>-{f}</sup>.</p>\n{verdict}\n\
         <p>{labels} Two parties differ from fixed point in {} of {} output values; nothing else is opened. Output \
         against float32: {}.</p>\n\
         {}\n<h2>Errors of every layer</h2>\n<p>Fixed point against float32: share of the values by absolute error in \
         ulp.</p>\n<div class=\"plots\">{plots}</div>\n</body></html>\n",
        found.differing,
        found.outputs,
        escape(&super::output(found)),
        table(found),
    )
}

fn table(found: &Accuracy) -> String {
    let cells = |tag: &str, row: &[String]| -> String {
        row.iter().map(|text| format!("<{tag}>{}</{tag}>", escape(text))).collect()
    };
    let mut rows = super::rows(found).into_iter();
    let mut out = format!("<table><tr>{}</tr>\n", cells("th", &rows.next().unwrap_or_default()));
    for (row, layer) in rows.zip(&found.layers) {
        let lost = found.lost.as_ref().is_some_and(|lost| lost.layer == layer.name);
        let class = if lost || layer.wraps > 0 { " class=\"bad\"" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "<tr{class}>{}</tr>", cells("td", &row));
    }
    out + "</table>"
}

/// The histogram of one layer's errors.
fn plot(layer: &Layer) -> String {
    let bar = WIDTH / BINS;
    let all = layer.values.max(1) as f64;
    let mut bars = String::new();
    for (bin, count) in layer.histogram.iter().enumerate() {
        let share = *count as f64 / all;
        let height = share * HEIGHT as f64;
        let (x, y) = (bin * bar, HEIGHT as f64 - height);
        let from = below(bin);
        let _ = write!(
            bars,
            "<rect x=\"{x}\" y=\"{y:.2}\" width=\"{}\" height=\"{height:.2}\"><title>from {from} ulp: {count}</title></rect>",
            bar - 2
        );
        if bin % 3 == 0 {
            let _ = write!(bars, "<text x=\"{x}\" y=\"{}\">{from}</text>", HEIGHT + 10);
        }
    }
    let (name, tall) = (escape(&layer.name), HEIGHT + 14);
    let room = layer.headroom_bits;
    format!(
        "<figure><figcaption>{name} ({}): worst {:.2} ulp, headroom {room:.1} bits</figcaption>\
         <svg width=\"{WIDTH}\" height=\"{tall}\" viewBox=\"0 0 {WIDTH} {tall}\" role=\"img\" aria-label=\"errors of {name}\">\
         <line x1=\"0\" y1=\"{HEIGHT}\" x2=\"{WIDTH}\" y2=\"{HEIGHT}\" stroke=\"#999\"/>{bars}</svg></figure>\n",
        escape(layer.op),
        layer.worst_ulp,
    )
}

/// Lower end of a bin, in ulp.
fn below(bin: usize) -> String {
    match bin {
        0 => "0".into(),
        1 => "\u{bd}".into(),
        _ => (1u64 << (bin - 2)).to_string(),
    }
}

/// Text as HTML shows it, also within quotes.
pub(in crate::cli) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escape("<a b=\"c\" d='&'>"), "&lt;a b=&quot;c&quot; d=&#39;&amp;&#39;&gt;");
        assert_eq!(escape("fc1 \u{e9}"), "fc1 \u{e9}");
    }

    #[test]
    fn a_hostile_name_stays_text() {
        let name = "\"><script>alert(1)</script>";
        let page = page(name, &super::super::tests::good(name), Some(name));
        assert!(!page.contains("<script") && !page.contains("\"\">"), "{page}");
        assert_eq!(page.matches("&lt;script&gt;").count(), 6);
        assert!(page.contains("<rect") && page.contains("from 0 ulp: 7"));
    }

    #[test]
    fn bins_are_named_by_their_lower_end() {
        assert_eq!([0, 1, 2, 3, 6].map(below), ["0", "\u{bd}", "1", "2", "16"]);
    }
}
